/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "ctl/ctl.h"
#include "policy/handler.h"
#include "policy/sandbox.h"

enum { WRITE };

static const struct ctl_option options[] = {
    [WRITE] = {"write", NULL, "decide for good: remember and log, as bley does"},
    {NULL, NULL, NULL},
};

/* The handler itself answers, so that what is tested is what happens. */
static enum ctl_status answer(const struct conf *conf, int fd, bool write_too)
{
	struct conf settings = *conf;
	struct handler *handler;
	int status;

	settings.exim_workaround = false; /* there is more than one request */
	log_open("bleyctl", write_too ? settings.log_file : "-");
	handler = handler_new(&settings);
	if (!write_too)
		handler_rehearse(handler);
	handler_load(handler);
	status = 1;
	if (ctl_give_up_root(conf)) {
		sandbox_enter(&settings);
		status = handler_serve(handler, fd, STDOUT_FILENO);
	}
	handler_free(handler);
	log_close();
	return status ? CTL_WRONG : CTL_OK;
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	const char *file = args->count ? args->item[0] : "-";
	const struct conf *conf = ctl_conf(ctl);
	enum ctl_status status;
	int fd = STDIN_FILENO;

	if (!conf)
		return CTL_WRONG;
	if (strcmp(file, "-") != 0)
		fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		ctl_complain("test: cannot read %s: %s", file, strerror(errno));
		return CTL_WRONG;
	}
	status = answer(conf, fd, args->option[WRITE] != NULL);
	if (fd != STDIN_FILENO)
		close(fd);
	return status;
}

const struct ctl_command ctl_test = {
    .name = "test",
    .arguments = "[FILE]",
    .arguments_min = 0,
    .arguments_max = 1,
    .summary = "answer requests from a file as bley would now; changes nothing",
    .options = options,
    .run = run,
};
