// SPDX-License-Identifier: Apache-2.0
//
// The tree as it is written: every kind of context stands where it hangs, ends and names are told, JSON and DOT are what
// they say they are; and all that while eight threads change everything.
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static belay_ctx background;
static const belay_key KEY = {"tenant"};

// --- What was written -------------------------------------------------------------------------------------------------

struct text { char *bytes; size_t length; };

static struct text written(belay_ctx ctx, belay_tree_format format) {
    FILE *file = tmpfile();
    CHECK(file != NULL);
    CHECK_IS(belay_tree_write(ctx, format, fileno(file)), BELAY_OK);
    struct text text;
    text.length = (size_t)lseek(fileno(file), 0, SEEK_END);
    text.bytes = calloc(1, text.length + 1);
    CHECK_IS(pread(fileno(file), text.bytes, text.length, 0), (ssize_t)text.length);
    CHECK_IS(strlen(text.bytes), text.length);
    fclose(file);
    return text;
}

// JSON, as RFC 8259 has it. Each returns what is behind it.
static const char *value(const char *at, int depth);

static const char *blank(const char *at) { return at + strspn(at, " \t\r\n"); }

static const char *string(const char *at) {
    CHECK(*at == '"');
    for (at++; *at != '"'; at++) {
        CHECK((unsigned char)*at >= 0x20);
        if (*at == '\\') {
            at++;
            CHECK(*at != 0 && strchr("\"\\/bfnrtu", *at) != NULL);
            if (*at == 'u') {
                CHECK(strspn(at + 1, "0123456789abcdef") >= 4);
                at += 4;
            }
        } else if ((unsigned char)*at >= 0x80) {
            int more = (unsigned char)*at >= 0xF0 ? 3 : (unsigned char)*at >= 0xE0 ? 2 : 1;
            CHECK((unsigned char)*at >= 0xC2 && (unsigned char)*at <= 0xF4);
            for (int i = 0; i < more; i++) CHECK(((unsigned char)*++at & 0xC0) == 0x80);
        }
    }
    return at + 1;
}

static const char *list(const char *at, char end, bool named, int depth) {
    at = blank(at + 1);
    if (*at == end) return at + 1;
    for (;;) {
        if (named) {
            at = blank(string(at));
            CHECK(*at == ':');
            at++;
        }
        at = blank(value(blank(at), depth + 1));
        if (*at == end) return at + 1;
        CHECK(*at == ',');
        at = blank(at + 1);
    }
}

static const char *value(const char *at, int depth) {
    CHECK(depth < 8);
    if (*at == '{') return list(at, '}', true, depth);
    if (*at == '[') return list(at, ']', false, depth);
    if (*at == '"') return string(at);
    for (const char *const *word = (const char *const[]){"true", "false", "null", NULL}; *word != NULL; word++) {
        if (strncmp(at, *word, strlen(*word)) == 0) return at + strlen(*word);
    }
    if (*at == '-') at++;
    size_t digits = strspn(at, "0123456789");
    CHECK(digits > 0 && (digits == 1 || *at != '0'));
    return at + digits;
}

static struct text json(belay_ctx ctx) {
    struct text text = written(ctx, BELAY_TREE_JSON);
    CHECK(*blank(value(text.bytes, 0)) == 0);
    return text;
}

// The line of a context in the array; NULL if it is not there.
static const char *line_of(const struct text *text, belay_ctx ctx) {
    char id[64];
    snprintf(id, sizeof id, "\n{\"id\":\"0x%016" PRIx64 "\",", ctx.bits);
    return strstr(text->bytes, id);
}

static bool says(const char *line, const char *what) {
    const char *found = strstr(line, what);
    return found != NULL && found < line + 1 + strcspn(line + 1, "\n");
}

#define CHECK_SAYS(line, what) check_says(__LINE__, line, what)
static void check_says(int number, const char *line, const char *what) {
    if (line != NULL && says(line, what)) return;
    fprintf(stderr, "line %d: %s is not in %.400s\n", number, what, line == NULL ? "(no line)" : line);
    CHECK(!"it says so");
}

static void check_parent(const struct text *text, belay_ctx child, belay_ctx parent) {
    char what[64];
    snprintf(what, sizeof what, "\"parent\":\"0x%016" PRIx64 "\"", parent.bits);
    CHECK_SAYS(line_of(text, child), what);
}

static size_t lines_of(const struct text *text) {
    size_t n = 0;
    for (const char *at = text->bytes; (at = strchr(at, '\n')) != NULL; at++) n++;
    return n;
}

// --- Every kind -------------------------------------------------------------------------------------------------------

static belay_ctx inner_of(void *self) { return *(belay_ctx *)self; }
static belay_status err_of(void *self, belay_cause *cause) {
    (void)self, (void)cause;
    return BELAY_OK;
}

static void every_kind(void) {
    belay_pool pool =
        belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 64, .name = "buffers"});
    belay_ctx top = belay_with_cancel(background), other = belay_with_timeout(background, BELAY_SEC(50));
    belay_ctx timeout = belay_with_timeout(top, BELAY_SEC(100)), later = belay_with_timeout(timeout, BELAY_SEC(200));
    belay_ctx named = belay_with_value(timeout, &KEY, &pool, NULL), data = belay_with_data(named, pool, NULL);
    belay_ctx detached = belay_without_cancel(data), lite = belay_lite(data, BELAY_SEC(1));
    belay_ctx merged = belay_merge((belay_ctx[]){data, other}, 2), below = belay_with_cancel(merged);
    static const belay_custom_ops asked = {.size = sizeof asked, .err = err_of};
    static const belay_custom_ops inside = {.size = sizeof inside, .inner = inner_of};
    belay_ctx polled = belay_custom(&asked, NULL), wrapped = belay_custom(&inside, &named);
    belay_ctx signals = belay_notify_signals(top, (int[]){SIGUSR1}, 1);

    struct text text = json(background);
    const struct { belay_ctx ctx, parent; const char *kind; } all[] = {
        {top, background, "cancel"}, {other, background, "timeout"}, {timeout, top, "timeout"},
        {later, timeout, "timeout"}, {named, timeout, "value"}, {data, named, "data"}, {detached, data, "detached"},
        {lite, data, "lite"}, {merged, data, "merge"}, {below, merged, "cancel"}, {polled, background, "custom"},
        {wrapped, named, "custom"}, {signals, top, "signals"},
    };
    size_t n = sizeof all / sizeof *all;
    for (size_t i = 0; i < n; i++) {
        char kind[32];
        snprintf(kind, sizeof kind, "\"kind\":\"%s\"", all[i].kind);
        const char *line = line_of(&text, all[i].ctx);
        CHECK_SAYS(line, kind);
        CHECK_SAYS(line, "\"state\":\"live\"");
        CHECK_SAYS(line, "\"closed\":false,\"runtime\":0");
        check_parent(&text, all[i].ctx, all[i].parent);
        // The parent comes first.
        CHECK(line_of(&text, all[i].parent) < line);
    }
    CHECK_SAYS(line_of(&text, background), "\"parent\":null,\"depth\":0,\"kind\":\"background\"");
    CHECK_SAYS(line_of(&text, below), "\"depth\":6");
    CHECK_IS(lines_of(&text), n + 3);   // and no more
    CHECK_SAYS(line_of(&text, named), "\"name\":\"tenant\"");
    CHECK_SAYS(line_of(&text, data), "\"name\":\"buffers\"");
    CHECK(!says(line_of(&text, top), "\"deadline\""));
    CHECK_SAYS(line_of(&text, top), "\"attached\":true");   // for the merge
    CHECK_SAYS(line_of(&text, later), "\"attached\":false");
    belay_instant deadline, last;
    CHECK(belay_deadline(timeout, &deadline) && belay_deadline(later, &last) && last == deadline);
    char what[64];
    snprintf(what, sizeof what, "\"deadline\":%" PRId64 ",\"remaining\":", deadline);
    CHECK_SAYS(line_of(&text, timeout), what);
    CHECK_SAYS(line_of(&text, later), what);
    CHECK_SAYS(line_of(&text, named), what);
    CHECK(!says(line_of(&text, detached), "\"deadline\""));
    free(text.bytes);

    // From a context down.
    text = json(data);
    CHECK(line_of(&text, named) == NULL && line_of(&text, polled) == NULL && line_of(&text, other) == NULL);
    CHECK(line_of(&text, below) != NULL && line_of(&text, lite) != NULL);
    CHECK_SAYS(line_of(&text, data), "\"parent\":null,\"depth\":0");
    free(text.bytes);
    text = json(lite);
    CHECK_IS(lines_of(&text), 1 + 2);
    free(text.bytes);

    belay_ctx closing[] = {signals, wrapped, polled, below, merged, lite, detached, data, named, later, timeout, other, top};
    for (size_t i = 0; i < n; i++) check_close(closing[i]);
    CHECK_IS(belay_pool_free(pool), BELAY_OK);
    text = written(background, BELAY_TREE_TEXT);
    CHECK(strcmp(text.bytes, "background\n") == 0);
    free(text.bytes);
    text = written(belay_todo(), BELAY_TREE_TEXT);
    CHECK(strcmp(text.bytes, "todo\n") == 0);
    free(text.bytes);
}

static void runtimes(void) {
    belay_runtime_options options = {
        .size = sizeof options, .name = "loop", .virtual_clock = true, .start = BELAY_SEC(5)};
    belay_runtime runtime = belay_runtime_new(&options);
    belay_ctx root = belay_runtime_background(runtime), ctx = belay_with_timeout(root, BELAY_SEC(1));
    struct text text = json(background);
    CHECK_IS(lines_of(&text), 3 + 2);
    check_parent(&text, root, background);
    check_parent(&text, ctx, root);
    CHECK_SAYS(line_of(&text, root), "\"kind\":\"runtime\",\"state\":\"live\",\"name\":\"loop\"");
    CHECK_SAYS(line_of(&text, ctx), "\"deadline\":6000000000,\"remaining\":1000000000,");
    CHECK_SAYS(line_of(&text, ctx), "\"runtime\":1");
    free(text.bytes);
    CHECK_IS(belay_runtime_poll(runtime, BELAY_SEC(7)), BELAY_OK);
    text = json(root);
    CHECK_SAYS(line_of(&text, ctx), "\"state\":\"deadline\"");
    free(text.bytes);
    check_close(ctx);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

// --- Ends -------------------------------------------------------------------------------------------------------------

static void ends_and_causes(void) {
    belay_ctx top = belay_with_cancel(background);
    belay_ctx plain = belay_with_cancel(top), why = belay_with_cancel(top), late = belay_with_timeout(top, BELAY_MS(1));
    belay_ctx unasked = belay_with_cancel(why), value_of = belay_with_value(unasked, &KEY, NULL, NULL);
    belay_ctx lite = belay_lite(why, BELAY_FOREVER), apart = belay_without_cancel(why);
    uint64_t noticed = check_metric("/ctx/ended/parent:contexts") + check_metric("/ctx/ended/deadline:contexts");
    CHECK_IS(belay_cancel(plain), BELAY_OK);
    CHECK_IS(belay_cancel_cause(why, -5, "a \"quote\", a \\, a\ttab, \xC3\xA9, a lone \xC3"), BELAY_OK);
    check_sleep_until(belay_now() + BELAY_MS(2));
    struct text text = json(top);
    CHECK_SAYS(line_of(&text, plain), "\"state\":\"canceled\",\"cause\":{\"code\":1,\"message\":\"context canceled\"}");
    CHECK_SAYS(line_of(&text, why),
               "\"cause\":{\"code\":-5,\"message\":\"a \\\"quote\\\", a \\\\, a\\u0009tab, \xC3\xA9, a lone \xEF\xBF\xBD\"}");
    // What nobody has noticed is told all the same, and stays unnoticed.
    CHECK_SAYS(line_of(&text, late), "\"state\":\"deadline\"");
    CHECK_SAYS(line_of(&text, late), "\"remaining\":0");
    CHECK_SAYS(line_of(&text, unasked), "\"state\":\"canceled\"");
    CHECK_SAYS(line_of(&text, value_of), "\"state\":\"canceled\"");
    CHECK_SAYS(line_of(&text, lite), "\"state\":\"canceled\"");
    CHECK_SAYS(line_of(&text, apart), "\"state\":\"live\"");
    CHECK_IS(check_metric("/ctx/ended/parent:contexts") + check_metric("/ctx/ended/deadline:contexts"), noticed);
    free(text.bytes);

    // Closed, and kept by what is below.
    check_close(why);
    check_close(unasked);
    text = json(background);
    CHECK_SAYS(line_of(&text, why), "\"closed\":true");
    CHECK_SAYS(line_of(&text, unasked), "\"closed\":true");
    CHECK_SAYS(line_of(&text, value_of), "\"closed\":false");
    check_parent(&text, value_of, unasked);
    check_parent(&text, unasked, why);
    check_parent(&text, lite, why);
    CHECK_SAYS(line_of(&text, lite), "\"state\":\"canceled\"");
    free(text.bytes);
    text = written(top, BELAY_TREE_TEXT);
    CHECK(strstr(text.bytes, ": context canceled, closed\n") != NULL);
    CHECK(strstr(text.bytes, ": deadline exceeded\n") != NULL);
    CHECK(strncmp(text.bytes, "cancel 0x", 9) == 0);
    CHECK(strstr(text.bytes, "\n  cancel 0x") != NULL);
    CHECK(strstr(text.bytes, ": live\n") != NULL);
    free(text.bytes);
    // A lite context keeps nobody. With its parent gone it is shown below the background.
    check_close(apart);
    check_close(value_of);
    text = json(background);
    CHECK(line_of(&text, why) == NULL);
    check_parent(&text, lite, background);
    CHECK_SAYS(line_of(&text, lite), "\"state\":\"canceled\"");
    free(text.bytes);
    check_close(lite);
    check_close(late);
    check_close(plain);
    check_close(top);
}

#ifdef __clang__
__attribute__((noinline))
#else
__attribute__((noinline, noclone))
#endif
static belay_ctx made_here(belay_ctx parent) {
    belay_ctx ctx = belay_with_cancel(parent);
    __asm__ volatile("" ::: "memory"); // no tail call
    return ctx;
}

// Of what was sampled, how old it is and where it was made; of the rest, nothing.
static void where_it_was_made(void) {
    belay_ctx top = made_here(background);
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    belay_ctx below = made_here(top);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
    CHECK_IS(belay_cancel_cause(below, 7, "seven"), BELAY_OK);
    struct text text = json(top);
    CHECK_SAYS(line_of(&text, below), "\"site\":\"belay_with_cancel+0x");
    CHECK_SAYS(line_of(&text, below), " < made_here+0x");
    CHECK_SAYS(line_of(&text, below), "\"age\":");
    CHECK(!says(line_of(&text, top), "\"site\":") && !says(line_of(&text, top), "\"age\":"));
    free(text.bytes);
    text = written(top, BELAY_TREE_TEXT);
    CHECK(strstr(text.bytes, " s old, made by belay_with_cancel+0x") != NULL);
    free(text.bytes);
    text = written(top, BELAY_TREE_DOT);
    CHECK(strstr(text.bytes, "[label=\"cancel\\ncause 7: seven\\n0.") != NULL);
    CHECK(strstr(text.bytes, " s old\\nbelay_with_cancel+0x") != NULL);
    free(text.bytes);
    check_close(below);
    check_close(top);
}

// The one at the top was taken at its word, which says nothing of an end that nobody has noticed.
static void a_top_that_ended_unnoticed(void) {
    for (int deadline = 0; deadline < 2; deadline++) {
        uint64_t noticed = check_metric("/ctx/ended/parent:contexts");
        belay_ctx parent = deadline ? belay_with_timeout(background, BELAY_MS(2)) : belay_with_cancel(background);
        belay_ctx tops[] = {belay_with_cancel(parent), {0}, belay_lite(parent, BELAY_FOREVER), {0}};
        tops[1] = belay_with_value(parent, &KEY, NULL, NULL);
        tops[3] = belay_with_timeout(parent, BELAY_SEC(1000)); // of its own
        belay_ctx below[] = {belay_with_cancel(tops[0]), belay_with_cancel(tops[1]), {0},
                             belay_lite(tops[3], BELAY_FOREVER)};
        const char *state = deadline ? "\"state\":\"deadline\"" : "\"state\":\"canceled\"";
        const char *end = deadline ? ": deadline exceeded" : ": context canceled";
        if (deadline) check_sleep(BELAY_MS(3));
        else CHECK_IS(belay_cancel_cause(parent, 9, "nine"), BELAY_OK);
        for (int i = 0; i < 4; i++) {
            struct text text = json(tops[i]);
            CHECK_SAYS(line_of(&text, tops[i]), state);
            if (i != 2) CHECK_SAYS(line_of(&text, below[i]), state);
            free(text.bytes);
            text = written(tops[i], BELAY_TREE_TEXT);
            CHECK(strstr(text.bytes, "live") == NULL);
            CHECK(strstr(text.bytes, end) != NULL);
            free(text.bytes);
            text = written(tops[i], BELAY_TREE_DOT);
            CHECK(strstr(text.bytes, "live") == NULL);
            free(text.bytes);
        }
        CHECK_IS(check_metric("/ctx/ended/parent:contexts"), noticed); // nor does it now
        for (int i = 0; i < 4; i++)
            if (below[i].bits != 0) check_close(below[i]);
        for (int i = 0; i < 4; i++) check_close(tops[i]);
        check_close(parent);
    }
}

static void names_that_are_none(void) {
    static const belay_key NONE = {NULL}, EMPTY = {""}, LONG = {"0123456789012345678901\xC3\xA9 and more"},
                           BAD = {"\xFF\x01\"\xED\xA0\x80\\"};
    const belay_key *keys[] = {&NONE, &EMPTY, &LONG, &BAD};
    belay_ctx ctx[4];
    for (int i = 0; i < 4; i++) ctx[i] = belay_with_value(i == 0 ? background : ctx[i - 1], keys[i], &keys, NULL);
    struct text text = json(ctx[0]);
    CHECK(!says(line_of(&text, ctx[0]), "\"name\"") && !says(line_of(&text, ctx[1]), "\"name\""));
    CHECK_SAYS(line_of(&text, ctx[2]), "\"name\":\"0123456789012345678901\xEF\xBF\xBD\"");
    CHECK_SAYS(line_of(&text, ctx[3]), "\"name\":\"\xEF\xBF\xBD\\u0001\\\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\\\\\"");
    free(text.bytes);
    for (int i = 0; i < 4; i++) check_close(ctx[i]);
}

// --- The other formats ------------------------------------------------------------------------------------------------

static void dot(void) {
    belay_ctx top = belay_with_timeout(background, BELAY_SEC(100)), child = belay_with_value(top, &KEY, NULL, NULL);
    belay_ctx ended = belay_with_cancel(child);
    CHECK_IS(belay_cancel_cause(ended, 3, "a \"quote\"\n"), BELAY_OK);
    struct text text = written(top, BELAY_TREE_DOT);
    char edge[128];
    snprintf(edge, sizeof edge, "  \"0x%016" PRIx64 "\" -> \"0x%016" PRIx64 "\";\n", child.bits, ended.bits);
    CHECK(strstr(text.bytes, edge) != NULL);
    CHECK(strncmp(text.bytes, "digraph belay {\n", 16) == 0);
    CHECK(strcmp(text.bytes + text.length - 3, "\n}\n") == 0);
    CHECK(strstr(text.bytes, "[label=\"value\\ntenant\\n") != NULL);
    CHECK(strstr(text.bytes, "\\ncause 3: a \\\"quote\\\" \", color=gray") != NULL);
    if (system("command -v dot >/dev/null 2>&1") == 0) {
        FILE *graphviz = popen("dot -Tsvg >/dev/null", "w");
        CHECK(graphviz != NULL && fwrite(text.bytes, 1, text.length, graphviz) == text.length);
        CHECK_IS(pclose(graphviz), 0);
    }
    free(text.bytes);
    check_close(ended);
    check_close(child);
    check_close(top);
}

static void deep_and_wide(void) {
    long depth = check_scaled(4000);
    belay_ctx *chain = calloc((size_t)depth, sizeof *chain);
    for (long i = 0; i < depth; i++) chain[i] = belay_with_cancel(i == 0 ? background : chain[i - 1]);
    struct text text = json(background);
    CHECK_IS(lines_of(&text), (size_t)depth + 3);
    check_parent(&text, chain[depth - 1], depth > 1 ? chain[depth - 2] : background);
    free(text.bytes);
    text = written(background, BELAY_TREE_TEXT);
    char level[64];
    snprintf(level, sizeof level, "[%ld] cancel 0x", depth);
    CHECK(depth <= 40 || strstr(text.bytes, level) != NULL);
    free(text.bytes);
    for (long i = depth - 1; i >= 0; i--) check_close(chain[i]);
    for (long i = 0; i < depth; i++) chain[i] = belay_with_timeout(background, BELAY_SEC(100 + i));
    text = json(background);
    CHECK_IS(lines_of(&text), (size_t)depth + 3);
    free(text.bytes);
    for (long i = 0; i < depth; i++) check_close(chain[i]);
    free(chain);
}

// --- Failures ---------------------------------------------------------------------------------------------------------

static void *drain_slowly(void *raw) {
    int fd = *(int *)raw;
    size_t sum = 0;
    char some[777];
    for (ssize_t n; (n = read(fd, some, sizeof some)) > 0; sum += (size_t)n) {
        if (sum < 8192) check_sleep(BELAY_MS(1));
    }
    return (void *)sum;
}

static void descriptors(void) {
    CHECK_IS(belay_tree_write(background, BELAY_TREE_TEXT, -1), BELAY_EINVAL);
    CHECK_IS(belay_tree_write(background, (belay_tree_format)3, STDOUT_FILENO), BELAY_EINVAL);
    CHECK_IS(belay_tree_write((belay_ctx){0}, BELAY_TREE_TEXT, STDOUT_FILENO), BELAY_EINVAL);
    CHECK_IS(belay_tree_write((belay_ctx){0x123456789abcdef0}, BELAY_TREE_TEXT, STDOUT_FILENO), BELAY_EINVAL);
    belay_ctx ctx = belay_with_cancel(background);
    check_close(ctx);
    CHECK_IS(belay_tree_write(ctx, BELAY_TREE_TEXT, STDOUT_FILENO), BELAY_ESTALE);
    // A reader that has gone: an answer, not a signal.
    int ends[2];
    CHECK_IS(pipe(ends), 0);
    close(ends[0]);
    CHECK_IS(belay_tree_write(background, BELAY_TREE_TEXT, ends[1]), BELAY_ESYSTEM);
    CHECK_IS(errno, EPIPE);
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGPIPE));
    close(ends[1]);
    // A reader that is slow, and a descriptor that does not block.
    enum { MANY = 2000 };
    static belay_ctx many[MANY];
    for (int i = 0; i < MANY; i++) many[i] = belay_with_cancel(background);
    struct text text = json(background);
    CHECK_IS(pipe(ends), 0);
    CHECK_IS(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    pthread_t reader;
    CHECK_IS(pthread_create(&reader, NULL, drain_slowly, &ends[0]), 0);
    CHECK_IS(belay_tree_write(background, BELAY_TREE_JSON, ends[1]), BELAY_OK);
    close(ends[1]);
    void *sum;
    CHECK_IS(pthread_join(reader, &sum), 0);
    CHECK_IS((size_t)sum, text.length);
    close(ends[0]);
    free(text.bytes);
    for (int i = 0; i < MANY; i++) check_close(many[i]);
}

// --- While everything changes -----------------------------------------------------------------------------------------

static atomic_bool stop;
static atomic_int dropped, made;
static void drop(void *value) { atomic_fetch_add(&dropped, *(int *)value); }

static void churn(void *raw) {
    static int one = 1;
    uint64_t seed = (uint64_t)(uintptr_t)&raw | 1;
    while (!atomic_load(&stop)) {
        belay_ctx own[8] = {*(belay_ctx *)raw};
        for (int i = 1; i < 8; i++) {
            belay_ctx parent = own[check_random(&seed) % (unsigned)i];
            uint64_t kind = check_random(&seed) % 6;
            switch (kind) {
            case 0: own[i] = belay_with_timeout(parent, (belay_duration)(check_random(&seed) % 1000000)); break;
            case 1:
                atomic_fetch_add(&made, 1);
                own[i] = belay_with_value(parent, &KEY, &one, drop);
                break;
            case 2: own[i] = belay_lite(parent, BELAY_SEC(1)); break;
            case 3: own[i] = belay_without_cancel(parent); break;
            case 4: own[i] = belay_merge((belay_ctx[]){parent, own[0]}, 2); break;
            default: own[i] = belay_with_cancel(parent);
            }
            // Not where the end may never come.
            if (kind % 5 == 0 && check_random(&seed) % 4 == 0) (void)belay_on_done(own[i], check_ignore, NULL);
            if (check_random(&seed) % 8 == 0) (void)belay_cancel_cause(own[i], 5, "five");
        }
        // In any order: parents before children, too.
        for (int left = 7; left > 0; left--) {
            int i = 1 + (int)(check_random(&seed) % (unsigned)left);
            if (own[i].bits != 0) check_close(own[i]);
            own[i] = own[left];
        }
    }
}

static void write_meanwhile(void) {
    struct check_thread threads[8];
    belay_ctx parent = belay_with_cancel(background);
    atomic_store(&stop, false);
    for (int i = 0; i < 8; i++) check_start(&threads[i], churn, &parent);
    static char text[BELAY_PROMETHEUS_SIZE];
    for (long turn = check_scaled(100); turn > 0; turn--) {
        struct text tree = json(turn % 2 == 0 ? parent : background);
        // Each stands below one that came before.
        for (const char *at = tree.bytes; (at = strstr(at, "\"parent\":\"")) != NULL; at += 30) {
            char id[64];
            snprintf(id, sizeof id, "\n{\"id\":%.20s,", at + 9);
            const char *above = strstr(tree.bytes, id);
            CHECK(above != NULL && above < at);
        }
        free(tree.bytes);
        tree = written(background, turn % 2 == 0 ? BELAY_TREE_TEXT : BELAY_TREE_DOT);
        free(tree.bytes);
        CHECK(belay_metrics_prometheus(text, sizeof text) > 0);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 8; i++) check_join(&threads[i]);
    check_close(parent);
    CHECK_IS(atomic_load(&dropped), atomic_load(&made));
}

int main(void) {
    background = belay_background();
    const struct check_test tests[] = {
        TEST(every_kind), TEST(runtimes), TEST(ends_and_causes), TEST(where_it_was_made), TEST(a_top_that_ended_unnoticed),
        TEST(names_that_are_none), TEST(dot),
        TEST(deep_and_wide), TEST(descriptors), TEST(write_meanwhile),
    };
    RUN_TESTS(tests, "");
    return 0;
}
