/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/module.h"
#include "check/spf.h"
#include "check/spf_check.h"

static const struct spf_module spf_module = {.check = spf_check};

MODULE_EXPORT extern const struct module bley_module;
const struct module bley_module = {.abi = MODULE_ABI, .name = "spf", .ops = &spf_module};
