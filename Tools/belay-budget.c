/*
 * belay-budget — what a service's contexts cost, before it is built: calls per request, times what each call takes on
 * this machine, against a bar. See --help.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include <belay.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, ROUNDS = 15, GO_ROUNDS = 9, GO_SECONDS = 20 };
static double round_ns = 2e6;

/* --- The operations ----------------------------------------------------------------------------------------------- */

static const belay_key KEYS[8] = {{"a"}, {"b"}, {"c"}, {"d"}, {"e"}, {"f"}, {"g"}, {"h"}};
static belay_ctx parent, timed, deep; /* cancellable; with a deadline; with eight values */
static belay_pool pool;

#define USE(value) __asm__ volatile("" : : "r"((uint64_t)(value)) : "memory")

static void nothing(void *arg) { (void)arg; }
static int64_t no_work(belay_ctx ctx, void *arg) { return (void)ctx, (void)arg, 0; }

/* Each does its work BATCH times, so that a call through a pointer does not count. */
#define OPERATION(name, ...) \
    static void name(void) { for (int i = 0; i < BATCH; i++) __VA_ARGS__ }

OPERATION(do_timeout, { belay_close(belay_with_timeout(parent, BELAY_SEC(30))); })
OPERATION(do_cancel, { belay_close(belay_with_cancel(parent)); })
OPERATION(do_lite, { belay_close(belay_lite(parent, BELAY_SEC(30))); })
OPERATION(do_value, { belay_close(belay_with_value(deep, &KEYS[0], &parent, NULL)); })
OPERATION(do_data, { belay_close(belay_with_data(parent, pool, NULL)); })
OPERATION(do_ask, { USE(belay_is_done(timed)); })
OPERATION(do_remaining, { USE(belay_remaining(timed)); })
OPERATION(do_lookup, { USE((uintptr_t)belay_value(deep, &KEYS[0])); })
OPERATION(do_callback, {
    belay_ctx ctx = belay_with_timeout(parent, BELAY_SEC(30));
    (void)belay_stop(belay_after_func(ctx, nothing, NULL));
    belay_close(ctx);
})
OPERATION(do_timer, { (void)belay_timer_stop(belay_timer_after(parent, BELAY_SEC(30), nothing, NULL)); })
static void do_group(void) {
    belay_group group = belay_group_new(parent, BELAY_UNLIMITED, NULL);
    for (int i = 0; i < BATCH; i++) (void)belay_group_go(group, no_work, NULL);
    (void)belay_group_wait(group, BELAY_FOREVER, NULL);
    (void)belay_group_free(group);
}

struct operation {
    const char *option, *title;
    void (*run)(void);
    const char *go;     /* the case of Go's program that does the same; NULL where Go has no such thing */
    double calls;       /* for one request; at first as a service has them that shares its timeouts and values */
    int cells;          /* of the arena, 64 bytes each, that it takes and gives back */
    double ns, go_ns, go_bytes;
};

static struct operation operations[] = {
    {"timeout", "derive with a timeout, close", do_timeout, "derive.timeout", 1, 1, 0, 0, 0},
    {"cancel", "derive, close", do_cancel, "derive.cancel", 0, 1, 0, 0, 0},
    {"lite", "lite context with a timeout, close", do_lite, "derive.timeout", 0, 1, 0, 0, 0},
    {"value", "derive with a value, close", do_value, "derive.value", 0, 3, 0, 0, 0},
    {"data", "derive with request data, close", do_data, "pool.context.1024", 1, 1, 0, 0, 0},
    {"ask", "is it done", do_ask, "ask.is_done.timeout", 10, 0, 0, 0, 0},
    {"remaining", "the time left", do_remaining, "ask.remaining", 3, 0, 0, 0, 0},
    {"lookup", "look a value up", do_lookup, "value.hit.5", 5, 0, 0, 0, 0},
    {"callback", "derive, register a callback, stop, close", do_callback, "listen.after_func.first", 0, 3, 0, 0, 0},
    {"timer", "timer: add, stop", do_timer, "timer.churn.1000", 0, 1, 0, 0, 0},
    {"task", "task of a group: start, end", do_group, "group.1000", 0, 1, 0, 0, 0},
};
enum { COUNT = sizeof operations / sizeof *operations };

/* --- Measuring ---------------------------------------------------------------------------------------------------- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *numbers, int n) {
    qsort(numbers, (size_t)n, sizeof *numbers, by_size);
    return numbers[n / 2];
}

static double time_of(void (*run)(void), long batches) {
    double start = now();
    for (long i = 0; i < batches; i++) run();
    return (now() - start) / (double)batches / BATCH;
}

/* The median of rounds that take `round_ns` each. */
static double cost_of(void (*run)(void)) {
    double rounds[ROUNDS];
    long batches = 1;
    time_of(run, 1);
    while (time_of(run, batches) * (double)batches * BATCH < round_ns && batches < 1 << 24) batches *= 2;
    for (int i = 0; i < ROUNDS; i++) rounds[i] = time_of(run, batches);
    return median(rounds, ROUNDS);
}

static void set_up(void) {
    belay_pool_desc desc = {.size = sizeof desc, .item_size = 1024};
    pool = belay_pool_new(&desc);
    parent = belay_with_cancel(belay_background());
    timed = belay_with_timeout(parent, BELAY_SEC(3600));
    deep = parent;
    for (int i = 0; i < 5; i++) deep = belay_with_value(deep, &KEYS[i], &parent, NULL);
    if (belay_is_none(timed) || belay_is_none(deep) || pool.bits == 0) {
        fprintf(stderr, "belay-budget: %s\n", belay_status_string(belay_last_status()));
        exit(2);
    }
}

/* --- Go: the rival's program of Benchmarks, which is driven over its standard input ---------------------------------- */

static const char *go_path; /* NULL: it is not asked */
static int to_go = -1, from_go = -1;
static pid_t go;

static void end_go(void) {
    if (to_go >= 0) close(to_go);
    if (from_go >= 0) close(from_go);
    if (go > 0 && kill(go, SIGKILL) == 0) waitpid(go, NULL, 0);
    signal(SIGPIPE, SIG_DFL);
}

static void give_go_up(const char *why) {
    end_go();
    fprintf(stderr, "belay-budget: --go %s: %s\n", go_path, why);
    exit(2);
}

static void start_go(void) {
    int in[2], out[2];
    if (access(go_path, X_OK) != 0 || pipe(in) != 0 || pipe(out) != 0) give_go_up(strerror(errno));
    go = fork();
    if (go < 0) give_go_up(strerror(errno));
    if (go == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        int all[] = {in[0], in[1], out[0], out[1]};
        for (int i = 0; i < 4; i++)
            if (all[i] > 2) close(all[i]);
        execl(go_path, go_path, (char *)NULL);
        _exit(127);
    }
    signal(SIGPIPE, SIG_IGN); /* until it ends: what has gone does not answer */
    close(in[0]);
    close(out[1]);
    to_go = in[1];
    from_go = out[0];
}

/* The next line that it writes; false when it ends, or writes none in time. */
static bool hear_go(char *line, size_t size) {
    double end = now() + GO_SECONDS * 1e9;
    for (size_t i = 0; i < size; i++) {
        struct pollfd ready = {.fd = from_go, .events = POLLIN};
        double left = (end - now()) / 1e6;
        if (left <= 0 || poll(&ready, 1, (int)left + 1) <= 0 || read(from_go, &line[i], 1) != 1) return false;
        if (line[i] != '\n') continue;
        line[i] = 0;
        return true;
    }
    return false;
}

/* Sends a line, and reads the number called `name` from the line that comes back. */
static double ask_go(const char *line, const char *name) {
    char answer[512], quoted[64], why[256];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    if (dprintf(to_go, "%s\n", line) > 0 && hear_go(answer, sizeof answer)) {
        const char *found = strstr(answer, quoted);
        if (found != NULL) return atof(found + strlen(quoted));
        if (name[0] == 0) return 0;
    }
    snprintf(why, sizeof why, "does not answer \"%s\", or not within %d s: is it Go's program of Benchmarks?", line,
             GO_SECONDS);
    give_go_up(why);
    return 0;
}

static void measure_go(struct operation *operation) {
    char line[128];
    double rounds[GO_ROUNDS];
    snprintf(line, sizeof line, "open %s %.0f", operation->go, round_ns);
    ask_go(line, "n");
    for (int i = 0; i < GO_ROUNDS; i++) rounds[i] = ask_go("run", "value");
    operation->go_ns = median(rounds, GO_ROUNDS);
    operation->go_bytes = ask_go("count", "bytes");
    ask_go("close", "");
}

static void measure_all_go(void) {
    start_go();
    for (int i = 0; i < COUNT; i++)
        if (operations[i].go != NULL && operations[i].calls > 0) measure_go(&operations[i]);
    end_go();
}

/* --- Telling ------------------------------------------------------------------------------------------------------ */

/* For a request; of one core, in bytes of heap per second. What Belay takes are cells of its arena, used again and
 * again: they are shown, and are no bytes of heap. */
struct bill { double ns, heap, arena, core, rate; };
static double requests = 50000, bar_core = 5, bar_mb = 30;

static struct bill bill_of(bool is_go) {
    struct bill bill = {0, 0, 0, 0, 0};
    for (int i = 0; i < COUNT; i++) {
        const struct operation *o = &operations[i];
        bill.ns += o->calls * (is_go ? o->go_ns : o->ns);
        if (is_go) bill.heap += o->calls * o->go_bytes;
        else bill.arena += o->calls * 64 * o->cells;
    }
    bill.core = bill.ns * requests / 1e9 * 100;
    bill.rate = bill.heap * requests;
    return bill;
}

static bool is_within(struct bill bill) { return bill.core <= bar_core && bill.rate <= bar_mb * 1e6; }

/* The bar that is broken. */
static const char *over_what(struct bill bill) {
    if (bill.core <= bar_core) return "the bar for the heap";
    return bill.rate <= bar_mb * 1e6 ? "the bar for the core" : "both bars";
}

static void print_table(bool is_go) {
    struct bill bill = bill_of(is_go);
    printf("%-42s %9s %7s %12s %16s\n", is_go ? "with Go" : "with Belay", "cost ns", "calls", "ns/request",
           is_go ? "heap B/request" : "arena B, reused");
    for (int i = 0; i < COUNT; i++) {
        const struct operation *o = &operations[i];
        if (o->calls <= 0) continue;
        double cost = is_go ? o->go_ns : o->ns, bytes = is_go ? o->go_bytes : 64 * o->cells;
        printf("%-42s %9.1f %7g %12.1f %16.0f\n", o->title, cost, o->calls, cost * o->calls, bytes * o->calls);
    }
    printf("%-42s %9s %7s %12.1f %16.0f\n", "total", "", "", bill.ns, is_go ? bill.heap : bill.arena);
    printf("at %.15g requests per second: %.2f %% of one core (bar %.15g %%), %.1f MB/s of heap (bar %.15g MB/s): ",
           requests, bill.core, bar_core, bill.rate / 1e6, bar_mb);
    if (is_within(bill)) printf("within\n\n");
    else printf("OVER %s\n\n", over_what(bill));
}

static void print_text(void) {
    struct bill bill = bill_of(false);
    const bool has_go = go_path != NULL;
    print_table(false);
    if (has_go) print_table(true);
    else printf("Go was not measured: scripts/bench --only none --rivals go builds what --go can name\n\n");
    printf("Belay's bytes are cells of its arena, which the next request uses again. None comes from the heap, so\n"
           "none counts against the bar.%s\n\n", has_go ? " Go's are new ones, for the collector." : "");
    if (is_within(bill)) {
        printf("Verdict: within the bar. What the service spends its time on is something else.\n");
    } else {
        const struct operation *most = &operations[0];
        for (int i = 1; i < COUNT; i++)
            if (operations[i].ns * operations[i].calls > most->ns * most->calls) most = &operations[i];
        printf("Verdict: over %s, most of all by \"%s\". docs/README.md has the levers; BELAY_AUDIT=1 finds "
               "them.\n", over_what(bill), most->title);
    }
}

static void print_json_bill(bool is_go) {
    struct bill bill = bill_of(is_go);
    printf("{\"operations\": [");
    const char *comma = "";
    for (int i = 0; i < COUNT; i++) {
        const struct operation *o = &operations[i];
        if (o->calls <= 0) continue;
        printf("%s\n    {\"name\": \"%s\", \"cost_ns\": %.3f, \"calls\": %.15g, \"heap_bytes\": %.1f, "
               "\"arena_bytes\": %.1f}", comma, o->option, is_go ? o->go_ns : o->ns, o->calls,
               is_go ? o->go_bytes : 0.0, is_go ? 0.0 : 64.0 * o->cells);
        comma = ",";
    }
    printf("],\n   \"ns_per_request\": %.3f, \"heap_bytes_per_request\": %.1f, \"arena_bytes_per_request\": %.1f, "
           "\"core_percent\": %.4f, \"heap_bytes_per_second\": %.0f, \"within\": %s}",
           bill.ns, bill.heap, bill.arena, bill.core, bill.rate, is_within(bill) ? "true" : "false");
}

static void print_json(void) {
    printf("{\"version\": \"%s\", \"requests_per_second\": %.15g, \"bar_core_percent\": %.15g, "
           "\"bar_mb_per_second\": %.15g,\n  \"belay\": ", belay_version(), requests, bar_core, bar_mb);
    print_json_bill(false);
    printf(",\n  \"go\": ");
    if (go_path != NULL) print_json_bill(true);
    else printf("null");
    printf("}\n");
}

/* --- Asking ------------------------------------------------------------------------------------------------------- */

static void help(void) {
    printf("What contexts cost a service: calls per request, times what each takes on this machine.\n\n"
           "    belay-budget [--requests N] [--OPERATION CALLS]... [--json] [--go PROGRAM]\n\n"
           "On a terminal and without options it asks. Calls are for one request, and may be fractions.\n"
           "In brackets is what is taken where you say nothing.\n\n");
    for (int i = 0; i < COUNT; i++)
        printf("  --%-12s %s (%.15g)\n", operations[i].option, operations[i].title, operations[i].calls);
    printf("\n  --requests     requests per second (%.15g)\n"
           "  --bar          the most of one core, in percent (%.15g)\n"
           "  --bar-mb       the most bytes of heap, in MB per second (%.15g)\n  --json         for programs (text)\n"
           "  --quick        shorter rounds, for a try\n"
           "  --go           Go's program of Benchmarks, build/bench/programs/go, for the same bill with Go (none)\n\n"
           "Exit status: 0 within the bars, 1 over one of them, 2 for a mistake or a failure.\n",
           requests, bar_core, bar_mb);
}

static double number(const char *text, const char *of) {
    char *end = NULL;
    double value = text == NULL ? -1 : strtod(text, &end);
    if (text != NULL && end != text && *end == 0 && value >= 0 && value < 1e12) return value;
    fprintf(stderr, "belay-budget: %s wants a number that is not negative; see --help\n", of);
    exit(2);
}

/* A line of the terminal, without the blanks around it; NULL at its end. */
static char *answer(char *line, int size) {
    if (fgets(line, size, stdin) == NULL) return NULL;
    if (strchr(line, '\n') == NULL)
        for (int next = getchar(); next != EOF && next != '\n';) next = getchar();
    size_t length = strlen(line);
    while (length > 0 && strchr(" \t\r\n", line[length - 1]) != NULL) line[--length] = 0;
    return line + strspn(line, " \t");
}

static void ask(const char *what, double *value) {
    char line[128], *end;
    for (;;) {
        printf("%s [%.15g]: ", what, *value);
        fflush(stdout);
        char *given = answer(line, sizeof line);
        if (given == NULL || *given == 0) return;
        double number = strtod(given, &end);
        if (*end == 0 && number >= 0 && number < 1e12) {
            *value = number;
            return;
        }
        printf("a number that is not negative, please\n");
    }
}

/* The exit status, once all has been written. */
static int written(int status) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    fprintf(stderr, "belay-budget: the result cannot be written: %s\n", strerror(errno));
    return 2;
}

int main(int count, char **arguments) {
    bool json = false, asks = count == 1 && isatty(0) && isatty(1);
    for (int i = 1; i < count; i++) /* first: while the numbers are those that it tells of */
        if (strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0) return help(), written(0);
    for (int i = 1; i < count; i++) {
        const char *option = arguments[i], *next = i + 1 < count ? arguments[i + 1] : NULL;
        int found = COUNT;
        if (strcmp(option, "--json") == 0) { json = true; continue; }
        if (strcmp(option, "--quick") == 0) { round_ns = 1e5; continue; }
        for (int j = 0; j < COUNT; j++)
            if (strncmp(option, "--", 2) == 0 && strcmp(option + 2, operations[j].option) == 0) found = j;
        if (strcmp(option, "--requests") == 0) requests = number(next, option);
        else if (strcmp(option, "--bar") == 0) bar_core = number(next, option);
        else if (strcmp(option, "--bar-mb") == 0) bar_mb = number(next, option);
        else if (strcmp(option, "--go") == 0 && next != NULL) go_path = next;
        else if (strcmp(option, "--go") == 0) return fprintf(stderr, "belay-budget: --go wants a program\n"), 2;
        else if (found < COUNT) operations[found].calls = number(next, option);
        else return fprintf(stderr, "belay-budget: there is no option %s; see --help\n", option), 2;
        i++;
    }
    if (asks) {
        printf("How many of each has a request? Enter takes what is in brackets.\n");
        ask("requests per second", &requests);
        for (int i = 0; i < COUNT; i++) ask(operations[i].title, &operations[i].calls);
        printf("\n");
    }
    if (go_path != NULL) measure_all_go(); /* first: a fork of a process without threads */
    set_up();
    for (int i = 0; i < COUNT; i++)
        if (operations[i].calls > 0) operations[i].ns = cost_of(operations[i].run);
    if (json) print_json();
    else print_text();
    return written(is_within(bill_of(false)) ? 0 : 1);
}
