// The only place that names ISAs at run time. Best first; PYLSTM_ISA forces one.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace pylstm {

// What this machine can run, of what this build has; the best one first.
const std::vector<const IsaKernels*>& available_isas();

// The one that networks made from now on use. First use reads PYLSTM_ISA; std::invalid_argument for a name that is
// unknown or not available here.
const IsaKernels& current_isa();
void use_isa(const std::string& name);

}  // namespace pylstm
