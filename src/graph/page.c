/* SPDX-License-Identifier: BSD-3-Clause */
#include "graph/graph.h"

#include <time.h>

#include "config.h"

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
    ":root { color-scheme: light dark; --page: #fafafa; --text: #222; --soft: #555 }\n"
    "@media (prefers-color-scheme: dark) { :root { --page: #181a1b; --text: #e6e6e6; --soft: #aaa "
    "} }\n"
    "body { margin: 0 auto; max-width: 58rem; padding: 1rem; background: var(--page); color: "
    "var(--text); font: 1rem/1.5 system-ui, sans-serif }\n"
    "nav a { margin-right: .8rem }\n"
    "a { color: inherit }\n"
    "figure { margin: 0 0 1.5rem }\n"
    "img { display: block; width: 100%; height: auto; background: #fff; border-radius: .5rem }\n"
    "figcaption, footer { color: var(--soft); font-size: .9rem }\n"
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

static void add_figure(const struct graph_data *data, int picture, struct strbuf *out)
{
	struct strbuf text = STRBUF_INIT;
	char name[GRAPH_NAME_SIZE];

	graph_picture_name(picture, name);
	graph_picture_text(data, picture, &text);
	strbuf_addf(out, "<figure>\n<img src=\"%s.svg\" alt=\"", name);
	add_escaped(out, text.buf);
	strbuf_addf(out, "\">\n<figcaption><a href=\"%s.png\">", name);
	strbuf_clear(&text);
	graph_picture_title(picture, &text);
	add_escaped(out, text.buf);
	strbuf_addstr(out, "</a></figcaption>\n</figure>\n");
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
