#pragma once

#include <stop_token>

namespace textmill::train {

/// The container role `train`: hyperparameters are the options' names with _ for -; channels train, validation and model
/// (a folder or a model.tar.gz); checkpoints are resumed from; the model goes to /opt/ml/model. Returns the exit status;
/// what went wrong is logged and left in /opt/ml/output/failure.
int run_training_job(std::stop_token stop);

}  // namespace textmill::train
