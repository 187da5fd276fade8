/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/settings.h"

#include "base/log.h"
#include "conf/conf.h"

void settings_load(const struct settings_options *options, struct conf *conf)
{
	conf_load(conf, options->conf_file);
	log_open("bley", options->debug ? "-" : conf->log_file);
	log_verbosity(options->debug || options->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	for (const struct conf_problem *p = conf->problems; p; p = p->next)
		log_message(p->severity == CONF_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "%s",
			    p->message);
}
