/* SPDX-License-Identifier: BSD-3-Clause */
#include "graph/graph.h"

#include <time.h>

#include "config.h"

#define NARROW "(max-width: 44rem)"
#define DARK "(prefers-color-scheme: dark)"

static const char head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<link rel=\"icon\" href=\"data:,\">\n"
    "<title>bley: greylisting</title>\n"
    "<style>\n"
    ":root { color-scheme: light dark; --page: #f4f5f6; --text: #222; --soft: #555 }\n"
    "@media " DARK " { :root { --page: #121415; --text: #e6e6e6; --soft: #b0b0b0 } }\n"
    "body { margin: 0 auto; max-width: 58rem; padding: 1rem; background: var(--page); "
    "color: var(--text); font: 1rem/1.5 system-ui, sans-serif }\n"
    "nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem }\n"
    "a { color: inherit }\n"
    "figure { margin: 0 0 1.5rem }\n"
    "img { display: block; width: 100%; height: auto; border-radius: .5rem }\n"
    "figcaption, footer { color: var(--soft); font-size: .85rem; text-align: right }\n"
    "footer { text-align: left; overflow-wrap: anywhere }\n"
    "@media " NARROW " { body { padding: .75rem; max-width: 32rem } }\n"
    "</style>\n"
    "</head>\n"
    "<body>\n"
    "<h1>What bley did</h1>\n";

static void add_escaped(struct strbuf *out, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '&':
			strbuf_addstr(out, "&amp;");
			break;
		case '<':
			strbuf_addstr(out, "&lt;");
			break;
		case '>':
			strbuf_addstr(out, "&gt;");
			break;
		case '"':
			strbuf_addstr(out, "&quot;");
			break;
		default:
			strbuf_addch(out, *text);
		}
}

/* The size is told so that nothing moves while the pictures come. */
static void add_size(const struct graph_data *data, int picture, enum graph_variant variant,
		     struct strbuf *out)
{
	struct graph_size size = graph_picture_size(data, picture, variant);

	strbuf_addf(out, " width=\"%d\" height=\"%d\">\n", size.width, size.height);
}

static void add_source(const struct graph_data *data, int picture, enum graph_variant variant,
		       const char *media, struct strbuf *out)
{
	char file[GRAPH_NAME_SIZE];

	graph_file_name(picture, variant, file);
	strbuf_addf(out, "<source media=\"%s\" srcset=\"%s\"", media, file);
	add_size(data, picture, variant, out);
}

static void add_figure(const struct graph_data *data, int picture, struct strbuf *out)
{
	struct strbuf text = STRBUF_INIT;
	char file[GRAPH_NAME_SIZE];

	strbuf_addstr(out, "<figure>\n<picture>\n");
	add_source(data, picture, GRAPH_SVG_NARROW_DARK, NARROW " and " DARK, out);
	add_source(data, picture, GRAPH_SVG_NARROW, NARROW, out);
	add_source(data, picture, GRAPH_SVG_DARK, DARK, out);
	graph_file_name(picture, GRAPH_SVG, file);
	strbuf_addf(out, "<img src=\"%s\" alt=\"", file);
	graph_picture_text(data, picture, &text);
	add_escaped(out, text.buf);
	strbuf_addch(out, '"');
	add_size(data, picture, GRAPH_SVG, out);
	graph_file_name(picture, GRAPH_PNG, file);
	strbuf_addf(out, "</picture>\n<figcaption><a href=\"%s\">%s</a></figcaption>\n</figure>\n",
		    file, file);
	strbuf_release(&text);
}

static void add_navigation(struct strbuf *out)
{
	strbuf_addstr(out, "<nav>");
	for (int i = 0; i < GRAPH_PERIODS; i++)
		strbuf_addf(out, "<a href=\"#p%s\">%s</a> ", graph_periods[i].name,
			    graph_periods[i].title);
	strbuf_addstr(out, "<a href=\"#tune\">tuning</a></nav>\n");
}

void graph_page(const struct graph_data *data, const char *source, struct strbuf *out)
{
	time_t now = (time_t)data->now_s;
	char when[64] = "";
	struct tm local;

	if (localtime_r(&now, &local))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S %Z", &local);
	strbuf_addstr(out, head);
	add_navigation(out);
	for (int i = 0; i < GRAPH_PERIODS; i++) {
		strbuf_addf(out, "<h2 id=\"p%s\">%s</h2>\n", graph_periods[i].name,
			    graph_periods[i].title);
		add_figure(data, 2 * i, out);
		add_figure(data, 2 * i + 1, out);
	}
	strbuf_addstr(out, "<h2 id=\"tune\">Tuning</h2>\n");
	for (int i = 2 * GRAPH_PERIODS; i < GRAPH_PICTURES; i++)
		add_figure(data, i, out);
	strbuf_addf(out, "<footer>Made %s by bleygraph " BLEY_VERSION " from ", when);
	add_escaped(out, source);
	strbuf_addstr(out, ".</footer>\n</body>\n</html>\n");
}
