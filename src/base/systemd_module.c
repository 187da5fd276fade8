/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/systemd.h"

#include <systemd/sd-daemon.h>

#include "base/module.h"

static const struct systemd_module systemd_ops = {
    .listen_fds = sd_listen_fds,
    .notify = sd_notify,
};

MODULE_EXPORT extern const struct module bley_module;
const struct module bley_module = {.abi = MODULE_ABI, .name = "systemd", .ops = &systemd_ops};
