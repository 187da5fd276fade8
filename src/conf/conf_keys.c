/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/conf.h"

const struct conf_key conf_keys[] = {
#define KEY(section_, type_, name_, fallback_, min_, max_, unit_, choices_, sample_, prose_) \
	{.section = #section_,                                                               \
	 .type = CONF_##type_,                                                               \
	 .name = #name_,                                                                     \
	 .offset = offsetof(struct conf, name_),                                             \
	 .fallback = (fallback_),                                                            \
	 .min = (min_),                                                                      \
	 .max = (max_),                                                                      \
	 .unit = (unit_),                                                                    \
	 .choices = (choices_),                                                              \
	 .sample = (sample_),                                                                \
	 .prose = (prose_)},
#include "conf/conf_keys.def"
#undef KEY
};

const size_t conf_key_count = sizeof(conf_keys) / sizeof(conf_keys[0]);
