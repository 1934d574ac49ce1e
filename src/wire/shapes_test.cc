#include "wire/shapes.h"

#include <gtest/gtest.h>
#include <re2/re2.h>

#include <algorithm>

namespace textmill::wire {
namespace {

TEST(Shapes, ServicesAreThere) {
  for (const char* id : {"application-autoscaling", "cloudwatch", "iam", "logs", "s3", "sagemaker",
                         "sagemaker-runtime", "sts"}) {
    const Service* service = find_service(id);
    ASSERT_TRUE(service) << id;
    EXPECT_GT(service->operations().size(), 0u);
    for (const Operation& operation : service->operations()) {
      EXPECT_EQ(&operation.service(), service);
      EXPECT_EQ(service->find(operation.name), &operation) << operation.name.view();
      EXPECT_EQ(operation.input().type, Type::structure);
      EXPECT_EQ(operation.output().type, Type::structure);
    }
  }
  EXPECT_FALSE(find_service("ec2"));
  EXPECT_FALSE(find_service("s3")->find("PutObjec"));
  EXPECT_FALSE(find_service("s3")->find("Zzz"));
}

TEST(Shapes, WhatTheModelSaysOfCreateModel) {
  const Operation& create = *find_service("sagemaker")->find("CreateModel");
  const Member& name = *create.input().find("ModelName");
  EXPECT_TRUE(name.is(kRequired));
  EXPECT_EQ(name.shape().type, Type::string);
  EXPECT_EQ(name.shape().max, 63);
  EXPECT_FALSE(name.shape().pattern.empty());
  const Shape& container = create.input().find("PrimaryContainer")->shape();
  const Member& mode = *container.find("Mode");
  EXPECT_FALSE(mode.is(kRequired));
  EXPECT_EQ(mode.shape().values().size(), 2u);
  EXPECT_EQ(mode.shape().values()[0], "SingleModel");
  const Shape& environment = container.find("Environment")->shape();
  EXPECT_EQ(environment.type, Type::map);
  EXPECT_EQ(environment.max, 100);
  EXPECT_EQ(environment.members()[1].shape().max, 1024);
}

TEST(Shapes, WhereMembersOfS3Travel) {
  const Operation& put = *find_service("s3")->find("PutObject");
  EXPECT_EQ(put.input().find("Key")->location, Location::uri);
  EXPECT_EQ(put.input().find("ContentType")->wire, "Content-Type");
  EXPECT_EQ(put.input().find("Metadata")->location, Location::headers);
  EXPECT_EQ(put.input().payload()->name, "Body");
  const Operation& list = *find_service("s3")->find("ListObjectsV2");
  EXPECT_EQ(list.conditions()[0].name, "list-type");
  EXPECT_EQ(list.conditions()[0].value, "2");
  EXPECT_TRUE(list.output().find("Contents")->shape().is(kFlattened));
}

TEST(Shapes, EveryPatternCompiles) {
  RE2::Options options;
  options.set_log_errors(false);
  size_t patterns = 0;
  std::vector<const Shape*> seen, next;
  for (const Service& service : services()) {
    for (const Operation& operation : service.operations())
      next.insert(next.end(), {&operation.input(), &operation.output()});
  }
  while (!next.empty()) {
    const Shape* shape = next.back();
    next.pop_back();
    if (std::ranges::find(seen, shape) != seen.end()) continue;
    seen.push_back(shape);
    for (const Member& member : shape->members()) next.push_back(&member.shape());
    if (shape->expression.empty()) continue;
    ++patterns;
    RE2 expression(shape->expression.view(), options);
    EXPECT_TRUE(expression.ok()) << shape->name.view() << ": " << shape->expression.view() << ": "
                                 << expression.error();
  }
  EXPECT_GT(patterns, 400u);
}

}  // namespace
}  // namespace textmill::wire
