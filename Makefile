# textmill: `make demo` and `make test` do all the set-up that is missing, then their job. `make help` lists the rest.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
BUILD := build/release
PYTHON := .venv/bin/python
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 30
export TEXTMILL_BUILD := $(CURDIR)/$(BUILD)

.PHONY: help demo build everything test check bench times sanitize soak install clean
help:
	@echo "make demo     through a server and boto3: fine-tune, deploy and ask a model on this machine's texts"
	@echo "make test     build and test everything (TEXTMILL_DATA: folder with the data sets)"
	@echo "make check    format, layers, sizes, clang-tidy on changed files, $(FUZZ_SECONDS) s of each fuzzer"
	@echo "make bench    the peers side by side, with ratios"
	@echo "make times    seconds of the set-up, a clean build, and one after a file was touched"
	@echo "make sanitize unit tests with the address, undefined-behaviour and thread sanitizers, pytest with the first two"
	@echo "make soak     the long forms of the tests, clang-tidy on everything"
	@echo "make install  PREFIX=$(PREFIX)"
	@echo "make clean"

$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json cmake/folders.cmake
	@cmake --preset release $(CONFIGURE) >build/configure.log || { cat build/configure.log; exit 1; }

build:
	@tools/setup.sh build python:build
	@$(MAKE) $(BUILD)/build.ninja CONFIGURE="$(if $(wildcard $(BUILD)),,-DTEXTMILL_TESTS=OFF -DTEXTMILL_BENCH=OFF)"
	@cmake --build $(BUILD) --target textmill

demo: build
	@tools/setup.sh apt-lists python:demo
	@$(PYTHON) recipes/package_sections/demo.py $(BUILD)/textmill

everything:
	@tools/setup.sh build test apt-lists python:build python:tests
	@$(MAKE) $(BUILD)/build.ninja
	@grep -q 'TEXTMILL_TESTS:BOOL=ON' $(BUILD)/CMakeCache.txt && grep -q 'TEXTMILL_BENCH:BOOL=ON' $(BUILD)/CMakeCache.txt || \
	  cmake --preset release -DTEXTMILL_TESTS=ON -DTEXTMILL_BENCH=ON >build/configure.log
	@cmake --build $(BUILD)

test: everything
	@cd $(BUILD) && ctest --output-on-failure -j 2 $(CTEST)
	@awk '/: Skipped$$/ { where = $$1; getline; print "SKIPPED", where, $$0 }' $(BUILD)/Testing/Temporary/LastTest.log | sort -u
	@$(PYTHON) -m pytest -q -rs tests $(PYTEST)

check:
	@tools/setup.sh build check test python:build
	@tools/check.sh $(FUZZ_SECONDS)

bench: everything
	@tools/setup.sh bench python:bench
	@$(PYTHON) bench/run.py $(BENCH)

times: everything
	@tools/times.py

sanitize: everything
	@for kind in asan tsan; do \
	  cmake --preset $$kind >build/$$kind-configure.log && cmake --build build/$$kind && \
	  (cd build/$$kind && ctest --output-on-failure -j 2 $(CTEST)) || exit 1; \
	done
	@TEXTMILL_BUILD=$(CURDIR)/build/asan $(PYTHON) -m pytest -q -rs tests $(PYTEST)

soak: everything
	@tools/setup.sh check own:sdk2 own:sdk3
	@TIDY=all tools/check.sh 600
	@TEXTMILL_SOAK=1 $(PYTHON) -m pytest -q -rs tests $(PYTEST)

install: build
	@install -D -s -m 755 $(BUILD)/textmill $(DESTDIR)$(PREFIX)/bin/textmill
	@install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	@sed 's|/usr/local/|$(PREFIX)/|' packaging/textmill.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/textmill.service
	@install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/textmill/LICENSE
	@install -D -m 644 NOTICE $(DESTDIR)$(PREFIX)/share/doc/textmill/NOTICE

clean:
	@rm -rf build .venv .venv-sdk2 .venv-sdk3 .pytest_cache
