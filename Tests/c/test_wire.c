// SPDX-License-Identifier: Apache-2.0
//
// On the wire: what is written, what is read back, what is refused; and that nothing outside of the caller's bytes is
// read or written. Texts stand in heap blocks of their exact length, so that the address sanitizer sees a step beyond.
#include "check.h"

#define SECOND INT64_C(1000000000)
#define HOUR (3600 * SECOND)
#define MOST INT64_C(99999999)

// A copy of `length` bytes, without a NUL and with no byte to spare.
static char *exactly(const void *bytes, size_t length) {
    char *copy = malloc(length ? length : 1);
    CHECK(copy != NULL);
    if (length) memcpy(copy, bytes, length);
    return copy;
}

static void check_text(const char *actual, const char *expected) {
    if (strcmp(actual, expected) == 0) return;
    fprintf(stderr, "'%s' is not '%s'\n", actual, expected);
    CHECK(!"the text");
}

// --- Timeouts --------------------------------------------------------------------------------------------------------

typedef ptrdiff_t writer(belay_duration left, char *text, size_t size);
typedef belay_status reader(const char *text, size_t length, belay_duration *left);

static belay_status read_as(reader *parse, const char *text, belay_duration *left) {
    char *copy = exactly(text, strlen(text));
    belay_status status = parse(copy, strlen(text), left);
    free(copy);
    return status;
}

// Written as `expected`, into room that is just enough, and refused by less.
static void check_written(writer *format, belay_duration left, const char *expected) {
    size_t length = strlen(expected);
    char *text = malloc(length + 1);
    CHECK_IS(format(left, text, length + 1), length);
    check_text(text, expected);
    for (size_t size = 1; size <= length; size++) {
        text[0] = '?';
        CHECK_IS(format(left, text, size), length);
        check_text(text, "");
    }
    CHECK_IS(format(left, NULL, 0), length);
    text[0] = '?';
    CHECK_IS(format(left, text, 0), length);
    CHECK_IS(text[0], '?');
    free(text);
}

static void check_read(reader *parse, const char *text, belay_duration expected) {
    belay_duration left = -1;
    CHECK_IS(read_as(parse, text, &left), BELAY_OK);
    CHECK_IS(left, expected);
}

static void check_refused(reader *parse, const char *text) {
    belay_duration left = 4711;
    if (read_as(parse, text, &left) != BELAY_EINVAL) fprintf(stderr, "'%s' is read\n", text);
    CHECK_IS(read_as(parse, text, &left), BELAY_EINVAL);
    CHECK_IS(left, 4711);
}

static void grpc_timeouts_are_written_in_the_finest_unit(void) {
    static const struct { belay_duration left; const char *text; } cases[] = {
        {1, "1n"}, {0, "1n"}, {-1, "1n"}, {INT64_MIN, "1n"}, {BELAY_FOREVER, ""},
        {MOST, "99999999n"}, {MOST + 1, "100000u"}, {MOST + 2, "100001u"},
        {MOST * 1000, "99999999u"}, {MOST * 1000 + 1, "100000m"}, {BELAY_MS(50), "50000000n"},
        {MOST * 1000000, "99999999m"}, {MOST * 1000000 + 1, "100000S"}, {BELAY_SEC(1), "1000000u"},
        {MOST * SECOND, "99999999S"}, {MOST * SECOND + 1, "1666667M"},
        {MOST * 60 * SECOND, "99999999M"}, {MOST * 60 * SECOND + 1, "1666667H"},
        {2562047 * HOUR, "2562047H"}, {2562047 * HOUR + 1, "2562048H"}, {INT64_MAX - 1, "2562048H"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_written(belay_grpc_timeout_format, cases[i].left, cases[i].text);
    }
}

static void grpc_timeouts_are_read(void) {
    static const struct { const char *text; belay_duration left; } cases[] = {
        {"1n", 1}, {"0n", 0}, {"00000000H", 0}, {"00000001S", SECOND}, {"7u", 7000}, {"1000m", SECOND},
        {"5S", 5 * SECOND}, {"2M", 120 * SECOND}, {"1H", HOUR}, {"99999999n", MOST}, {"99999999S", MOST * SECOND},
        {"99999999M", MOST * 60 * SECOND}, {"2562047H", 2562047 * HOUR}, {"2562048H", BELAY_FOREVER},
        {"99999999H", BELAY_FOREVER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_read(belay_grpc_timeout_parse, cases[i].text, cases[i].left);
    }
    static const char *const bad[] = {
        "", "n", "S", "1", "12345678", "100000000n", "000000001n", "1s", "1h", "1N", "1U", "1 ", " 1S", "1 S", "1S ",
        "+1S", "-1S", "1.5S", "0x1S", "1e3m", "1SS", "S1", "1m1", "\n1S", "1\xffS",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) check_refused(belay_grpc_timeout_parse, bad[i]);
    belay_duration left = 1;
    CHECK_IS(belay_grpc_timeout_parse("1\0S", 3, &left), BELAY_EINVAL);
    CHECK_IS(belay_grpc_timeout_parse("1S\0", 3, &left), BELAY_EINVAL);
    CHECK_IS(belay_grpc_timeout_parse("1S, 2S", 2, &left), BELAY_OK); // no more than is asked for
    CHECK_IS(left, SECOND);
}

static void milliseconds_are_written_and_read(void) {
    static const struct { belay_duration left; const char *text; } written[] = {
        {1, "1"}, {0, "0"}, {-1, "0"}, {INT64_MIN, "0"}, {BELAY_FOREVER, ""}, {BELAY_MS(1), "1"},
        {BELAY_MS(1) + 1, "2"}, {BELAY_MS(9), "9"}, {BELAY_MS(10), "10"}, {BELAY_SEC(60), "60000"},
        {INT64_MAX - 1, "9223372036855"},
    };
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        check_written(belay_timeout_ms_format, written[i].left, written[i].text);
    }
    static const struct { const char *text; belay_duration left; } read[] = {
        {"0", 0}, {"1", BELAY_MS(1)}, {"007", BELAY_MS(7)}, {"9223372036854", INT64_C(9223372036854000000)},
        {"9223372036855", BELAY_FOREVER}, {"9223372036854775807", BELAY_FOREVER},
        {"9223372036854775808", BELAY_FOREVER}, {"99999999999999999999999999999999", BELAY_FOREVER},
        {"00000000000000000000000000000001", BELAY_MS(1)},
    };
    for (size_t i = 0; i < sizeof read / sizeof *read; i++) {
        check_read(belay_timeout_ms_parse, read[i].text, read[i].left);
    }
    static const char *const bad[] = {"", " ", "1 ", " 1", "-1", "+1", "1.0", "1ms", "0x10", "ten", "1,2", "1\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) check_refused(belay_timeout_ms_parse, bad[i]);
}

static belay_duration unit_of(const char *text) {
    static const struct { char letter; belay_duration length; } units[] = {
        {'n', 1}, {'u', 1000}, {'m', 1000000}, {'S', SECOND}, {'M', 60 * SECOND}, {'H', HOUR},
    };
    for (size_t i = 0; i < 6; i++) {
        if (text[strlen(text) - 1] == units[i].letter) return units[i].length;
    }
    return 0;
}

// Never shorter, and longer by less than a unit, which is no more than the hundred-thousandth part.
static void a_timeout_survives_the_wire(void) {
    uint64_t random = 4;
    for (long i = 0; i < check_scaled(200000); i++) {
        belay_duration left = (belay_duration)(check_random(&random) >> (1 + check_random(&random) % 63)), back = -1;
        char text[BELAY_GRPC_TIMEOUT_SIZE], ms[BELAY_TIMEOUT_MS_SIZE];
        if (left == 0 || left == BELAY_FOREVER) continue;
        ptrdiff_t length = belay_grpc_timeout_format(left, text, sizeof text);
        CHECK(length >= 2 && length < (ptrdiff_t)sizeof text);
        CHECK_IS(belay_grpc_timeout_parse(text, (size_t)length, &back), BELAY_OK);
        belay_duration unit = unit_of(text);
        CHECK(back >= left);
        CHECK(back == BELAY_FOREVER || (back - left < unit && (unit == 1 || unit <= left / 99999)));
        length = belay_timeout_ms_format(left, ms, sizeof ms);
        CHECK(length >= 1 && length < (ptrdiff_t)sizeof ms);
        CHECK_IS(belay_timeout_ms_parse(ms, (size_t)length, &back), BELAY_OK);
        CHECK(back >= left && (back == BELAY_FOREVER || back - left < 1000000));
    }
}

static void a_context_goes_to_another_machine_and_back(void) {
    char text[BELAY_GRPC_TIMEOUT_SIZE] = "?";
    belay_duration left = -1;
    CHECK_IS(belay_grpc_timeout_format(belay_remaining(belay_background()), text, sizeof text), 0);
    check_text(text, "");
    belay_ctx here = belay_with_timeout(belay_background(), BELAY_SEC(1000));
    belay_duration before = belay_remaining(here);
    ptrdiff_t length = belay_grpc_timeout_format(before, text, sizeof text);
    CHECK_IS(belay_grpc_timeout_parse(text, (size_t)length, &left), BELAY_OK);
    CHECK(left >= before && left < before + BELAY_MS(1));
    CHECK_IS(belay_cancel(here), BELAY_OK);
    CHECK_IS(belay_grpc_timeout_format(belay_remaining(here), text, sizeof text), 2);
    check_text(text, "1n");
    CHECK_IS(belay_timeout_ms_format(belay_remaining(here), text, sizeof text), 1);
    check_text(text, "0");
    check_close(here);
}

// --- Traceparent -----------------------------------------------------------------------------------------------------

static const char USUAL[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

static belay_status read_trace(const char *text, size_t length, belay_traceparent *trace) {
    char *copy = exactly(text, length);
    belay_status status = belay_traceparent_parse(copy, length, trace);
    free(copy);
    return status;
}

static void a_traceparent_is_read_and_written(void) {
    belay_traceparent trace;
    CHECK_IS(read_trace(USUAL, 55, &trace), BELAY_OK);
    static const uint8_t id[] = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6,
                                 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36};
    static const uint8_t parent[] = {0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7};
    CHECK(memcmp(trace.trace_id, id, 16) == 0 && memcmp(trace.parent_id, parent, 8) == 0);
    CHECK_IS(trace.flags, BELAY_TRACE_SAMPLED);
    char text[BELAY_TRACEPARENT_SIZE];
    CHECK_IS(belay_traceparent_format(&trace, text, sizeof text), 55);
    check_text(text, USUAL);
    CHECK_IS(belay_traceparent_format(&trace, text, 55), 55);
    check_text(text, "");
    CHECK_IS(belay_traceparent_format(&trace, NULL, 0), 55);
    trace.flags = 0xff; // what has no name is not passed on
    CHECK_IS(belay_traceparent_format(&trace, text, sizeof text), 55);
    check_text(text + 52, "-03");
    CHECK_IS(sizeof trace, 25);
}

static void versions_of_traceparent(void) {
    static const struct { const char *version, *rest, *more; int flags; } cases[] = {
        {"00", "ff", "", 0xff}, {"00", "01", "-", -1}, {"00", "01", "-00", -1}, {"00", "01", "0", -1},
        {"01", "ff", "", 1}, {"cc", "02", "", 0}, {"cc", "01", "-what-comes-later", 1}, {"fe", "01", "-", 1},
        {"01", "01", "1", -1}, {"01", "01", ".", -1}, {"ff", "01", "", -1}, {"0", "01", "--", -1}, {"0x", "01", "", -1},
        {"FE", "01", "", -1}, {"00", "0g", "", -1}, {"00", "0A", "", -1}, {"00", "1", "", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[100];
        int length =
            snprintf(text, sizeof text, "%s%.51s%s%s", cases[i].version, USUAL + 2, cases[i].rest, cases[i].more);
        belay_traceparent trace = {.flags = 99};
        if (cases[i].flags < 0) {
            CHECK_IS(read_trace(text, (size_t)length, &trace), BELAY_EINVAL);
            CHECK_IS(trace.flags, 99);
        } else {
            CHECK_IS(read_trace(text, (size_t)length, &trace), BELAY_OK);
            CHECK_IS(trace.flags, cases[i].flags);
        }
    }
}

static void a_traceparent_has_one_form(void) {
    belay_traceparent trace = {.flags = 99};
    char text[60];
    for (size_t length = 0; length < 55; length++) CHECK_IS(read_trace(USUAL, length, &trace), BELAY_EINVAL);
    for (size_t i = 0; i < 55; i++) { // any other character anywhere
        static const char wrong[] = {'-', 'A', 'F', 'g', ' ', '\0', '/', ':', '`', '\n', '\xff', 'G', '@'};
        for (size_t k = 0; k < sizeof wrong; k++) {
            if (wrong[k] == USUAL[i]) continue;
            memcpy(text, USUAL, sizeof USUAL);
            text[i] = wrong[k];
            CHECK_IS(read_trace(text, 55, &trace), BELAY_EINVAL);
        }
    }
    static const struct { size_t from, count; } ids[] = {{3, 32}, {36, 16}};
    for (size_t i = 0; i < 2; i++) {
        memcpy(text, USUAL, sizeof USUAL);
        memset(text + ids[i].from, '0', ids[i].count);
        CHECK_IS(read_trace(text, 55, &trace), BELAY_EINVAL);
        text[ids[i].from + ids[i].count - 1] = '1';
        CHECK_IS(read_trace(text, 55, &trace), BELAY_OK);
    }
    CHECK_IS(belay_traceparent_parse(NULL, 55, &trace), BELAY_EINVAL);
    CHECK_IS(belay_traceparent_parse(USUAL, 55, NULL), BELAY_EINVAL);

    belay_traceparent none = {{0}, {1}, 0}, nobody = {{1}, {0}, 0};
    CHECK_IS(belay_traceparent_format(&none, text, sizeof text), -1);
    check_text(text, "");
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK_IS(belay_traceparent_format(&nobody, text, sizeof text), -1);
    CHECK_IS(belay_traceparent_format(NULL, text, sizeof text), -1);
}

// --- Baggage ---------------------------------------------------------------------------------------------------------

// The value of `key`, or NULL; compared with what less room gives.
static const char *get(const char *list, size_t length, const char *key) {
    static char value[1024];
    char *copy = exactly(list, length);
    ptrdiff_t size = belay_baggage_get(copy, length, key, value, sizeof value);
    CHECK(size < (ptrdiff_t)sizeof value);
    if (size < 0) check_text(value, "");
    if (size >= 0) {
        CHECK_IS(strlen(value), size);
        char *tight = malloc((size_t)size + 1);
        CHECK_IS(belay_baggage_get(copy, length, key, tight, (size_t)size + 1), size);
        check_text(tight, value);
        CHECK_IS(belay_baggage_get(copy, length, key, tight, (size_t)size), size); // room for all but the NUL
        if (size > 0) check_text(tight, "");
        CHECK_IS(belay_baggage_get(copy, length, key, NULL, 0), size);
        free(tight);
    }
    free(copy);
    return size < 0 ? NULL : value;
}

static void check_member(const char *list, const char *key, const char *expected) {
    const char *value = get(list, strlen(list), key);
    if (expected == NULL) CHECK(value == NULL);
    else check_text(value ? value : "(none)", expected);
}

static void baggage_is_read(void) {
    static const char list[] = "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue";
    check_member(list, "key1", "value1");
    check_member(list, "key2", "value2");
    check_member(list, "key3", "value3");
    static const char *const absent[] = {"key", "key4", "Key1", "property1", "propertyKey", "key1=value1", "y1"};
    for (size_t i = 0; i < 7; i++) check_member(list, absent[i], NULL);
    static const struct { const char *list, *value; } cases[] = {
        {"k=v", "v"}, {"k=", ""}, {"k= \t ", ""}, {"k=;p", ""}, {"\tk\t=\tv\t;p", "v"}, {"k=a=b==", "a=b=="},
        {"k=1,k=2", "1"}, {",, ,k=v,", "v"}, {"x,k=v", "v"}, {"=x,k=v", "v"}, {"a=1;k=2,k=3", "3"},
        {"k=DF%2028", "DF 28"},
        {"k=%c3%A9", "\xc3\xa9"}, {"k=%", "%"}, {"k=%2", "%2"}, {"k=%2,5", "%2"}, {"k=%zz%41", "%zzA"},
        {"k=a%2Cb%3Bc%25", "a,b;c%"}, {"k=a+b", "a+b"}, {"k=a b", "a b"}, {"k=%41%42", "AB"}, {"k=%0d%0a", "\r\n"},
        {"k=%00", "\xef\xbf\xbd"}, {"k=x%00y", "x\xef\xbf\xbdy"},
        {"k=\"q\"", "\"q\""}, {"", NULL}, {"k", NULL}, {"k;p=1", NULL}, {",", NULL}, {"kk=1", NULL}, {"k k=1", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_member(cases[i].list, "k", cases[i].value);
    CHECK(get("k=v\0w,l=1", 9, "l") != NULL); // the length counts, not a NUL
    check_text(get("k=v\0w,l=1", 9, "k"), "v\xef\xbf\xbdw");
    check_text(get("k=value", 4, "k"), "va");
}

static void values_are_utf8_whatever_comes(void) {
#define BAD "\xef\xbf\xbd"
    static const struct { const char *coded, *value; } cases[] = {
        {"%ff", BAD}, {"%80", BAD}, {"%c3", BAD}, {"%c3A", BAD "A"}, {"%c3%c3%a9", BAD "\xc3\xa9"}, {"%c0%80", BAD BAD},
        {"%e0%80%80", BAD BAD BAD}, {"%e0%a0%80", "\xe0\xa0\x80"}, {"%ed%9f%bf", "\xed\x9f\xbf"},
        {"%ed%a0%80", BAD BAD BAD}, {"%ef%bf%bd", BAD}, {"%f0%8f%80%80", BAD BAD BAD BAD},
        {"%f0%90%80%80", "\xf0\x90\x80\x80"},
        {"%f4%8f%bf%bf", "\xf4\x8f\xbf\xbf"}, {"%f4%90%80%80", BAD BAD BAD BAD}, {"%f5", BAD}, {"%f0%9f%98", BAD},
        {"%f0%9f%98%80", "\xf0\x9f\x98\x80"}, {"%e2%82%ac!", "\xe2\x82\xac!"}, {"\xc3\xa9", "\xc3\xa9"}, {"\xff", BAD},
        {"%e2%82", BAD}, {"%e2%82%e2%82%ac", BAD "\xe2\x82\xac"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char list[64];
        snprintf(list, sizeof list, "k=%s", cases[i].coded);
        check_member(list, "k", cases[i].value);
        snprintf(list, sizeof list, "k=%s;p,l=1", cases[i].coded);
        check_member(list, "k", cases[i].value);
    }
}

// Sets in a block that has no byte more than is needed.
static void check_set(const char *list, const char *key, const char *value, const char *expected) {
    size_t length = strlen(expected), room = (strlen(list) > length ? strlen(list) : length) + 1;
    char *text = malloc(room);
    memcpy(text, list, strlen(list) + 1);
    CHECK_IS(belay_baggage_set(text, room, key, value), length);
    check_text(text, expected);
    memcpy(text, list, strlen(list) + 1);
    for (size_t size = strlen(list) + 1; size <= length; size++) {
        CHECK_IS(belay_baggage_set(text, size, key, value), length);
        check_text(text, list); // no room: as it was
    }
    free(text);
}

static void baggage_is_set(void) {
    check_set("", "k", "v", "k=v");
    check_set("a=1", "k", "v", "a=1,k=v");
    check_set("a=1;p", "k", "", "a=1;p,k=");
    check_set("k=1", "k", "2", "k=2");
    check_set("k=1;p=2", "k", NULL, "");
    check_set("", "k", NULL, "");
    check_set(" a = 1 ,\tk = 2 ;p , b=3", "k", "4", "a = 1,b=3,k=4");
    check_set("k=1,a=2,k=3,k=4,b=5", "k", NULL, "a=2,b=5");
    check_set("k=1,a=2,k=3,,,b=5, ", "x", NULL, "k=1,a=2,k=3,b=5");
    check_set("odd one,kk=1", "k", "v", "odd one,kk=1,k=v");
    check_set("a=1", "k", "DF 28,\";\\%+\r\n\xc3\xa9\x7f", "a=1,k=DF%2028%2C%22%3B%5C%25%2B%0D%0A%C3%A9%7F");
    check_set("a=1", "!#$%&'*+-.^_`|~09azAZ", "/:=?@[]{}", "a=1,!#$%&'*+-.^_`|~09azAZ=/:=?@[]{}");
}

static void baggage_that_makes_no_sense_is_refused(void) {
    static const char *const keys[] = {
        "", " ", "a b", "a=b", "a,b", "a;b", "\"a\"", "(a)", "a/b", "a:b", "a@b", "[", "]", "{", "}", "\\", "a\n",
        "\x7f", "\xc3\xa9", "<", ">", "?",
    };
    char list[32] = "a=1", value[8] = "?";
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        CHECK_IS(belay_baggage_set(list, sizeof list, keys[i], "v"), -1);
        CHECK_IS(belay_last_status(), BELAY_EINVAL);
        CHECK_IS(belay_baggage_get("a=1", 3, keys[i], value, sizeof value), -1);
    }
    check_text(list, "a=1");
    CHECK_IS(belay_baggage_set(NULL, 9, "k", "v"), -1);
    CHECK_IS(belay_baggage_set(list, sizeof list, NULL, "v"), -1);
    CHECK_IS(belay_baggage_set(list, 3, "k", "v"), -1); // no NUL in three bytes
    CHECK_IS(belay_baggage_set(list, 0, "k", "v"), -1);
    CHECK_IS(belay_baggage_get(NULL, 3, "k", value, sizeof value), -1);
    CHECK_IS(belay_baggage_get("k=1", 3, NULL, value, sizeof value), -1);
    CHECK_IS(belay_baggage_get("k=1", 3, "k", NULL, 5), -1);
    check_text(list, "a=1");
}

static void baggage_has_limits(void) {
    static char list[20000], value[8200];
    for (int i = 0; i < 64; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        CHECK(belay_baggage_set(list, sizeof list, key, "v") > 0);
    }
    CHECK_IS(belay_baggage_set(list, sizeof list, "one-more", "v"), -1);
    CHECK(belay_baggage_set(list, sizeof list, "k7", "changed") > 0);
    check_member(list, "k7", "changed");
    check_member(list, "k63", "v");
    list[0] = '\0';
    memset(value, 'x', 8190);
    CHECK_IS(belay_baggage_set(list, sizeof list, "k", value), 8192);
    value[8190] = 'x';
    CHECK_IS(belay_baggage_set(list, sizeof list, "k", value), -1);
    CHECK_IS(strlen(list), 8192);
    CHECK_IS(belay_baggage_set(list, sizeof list, "k", NULL), 0);
}

// Any text at all survives as a value, as long as it is UTF-8 (here: ASCII), next to others.
static void random_baggage_survives(void) {
    uint64_t random = 8;
    for (long i = 0; i < check_scaled(20000); i++) {
        char list[600] = "before=1", value[40];
        size_t length = check_random(&random) % (sizeof value - 1);
        for (size_t k = 0; k < length; k++) value[k] = (char)(1 + check_random(&random) % 127);
        value[length] = '\0';
        CHECK(belay_baggage_set(list, sizeof list, "k", value) > 0);
        CHECK(belay_baggage_set(list, sizeof list, "behind", "2") > 0);
        for (const char *c = list; *c; c++) CHECK(*c > ' ' && *c < 0x7f);
        check_member(list, "k", value);
        check_member(list, "before", "1");
        check_member(list, "behind", "2");
    }
}

// --- All of it -------------------------------------------------------------------------------------------------------

static void missing_arguments_are_refused(void) {
    char text[16] = "?";
    belay_duration left = 7;
    CHECK_IS(belay_grpc_timeout_format(1, NULL, 10), -1);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK_IS(belay_grpc_timeout_format(1, text, SIZE_MAX), -1);
    CHECK_IS(belay_timeout_ms_format(1, NULL, 10), -1);
    CHECK_IS(belay_grpc_timeout_parse(NULL, 2, &left), BELAY_EINVAL);
    CHECK_IS(belay_grpc_timeout_parse("1S", 2, NULL), BELAY_EINVAL);
    CHECK_IS(belay_grpc_timeout_parse("1S", SIZE_MAX, &left), BELAY_EINVAL);
    CHECK_IS(belay_timeout_ms_parse(NULL, 2, &left), BELAY_EINVAL);
    CHECK_IS(belay_timeout_ms_parse("12", 2, NULL), BELAY_EINVAL);
    CHECK_IS(left, 7);
    CHECK(belay_baggage_get("k=1", SIZE_MAX, "k", text, sizeof text) == -1);
}

// First bytes with as many more as they ask for.
static void check_utf8(const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        CHECK(*c < 0x80 || (*c >= 0xc2 && *c < 0xf5));
        int more = *c < 0x80 ? 0 : *c < 0xe0 ? 1 : *c < 0xf0 ? 2 : 3;
        for (c++; more > 0; more--, c++) CHECK((*c & 0xc0) == 0x80);
    }
}

// Bytes that mean something to one of the parsers come often.
static void random_bytes_do_no_harm(void) {
    static const char likely[] = "0123456789abcdef-numSMH,;= \t%kK%c3%a9";
    uint64_t random = 15;
    for (long i = 0; i < check_scaled(200000); i++) {
        char bytes[160], value[512], list[256];
        size_t length = check_random(&random) % (i % 3 ? 64 : sizeof bytes);
        for (size_t k = 0; k < length; k++) {
            uint64_t dice = check_random(&random);
            bytes[k] = dice % 8 ? likely[dice / 8 % (sizeof likely - 1)] : (char)(dice >> 32);
        }
        if (length >= 55 && i % 2) memcpy(bytes, USUAL, 55 - check_random(&random) % 8);
        char *text = exactly(bytes, length);
        belay_duration left = -1;
        CHECK(belay_grpc_timeout_parse(text, length, &left) == BELAY_OK ? left >= 0 : left == -1);
        left = -1;
        CHECK(belay_timeout_ms_parse(text, length, &left) == BELAY_OK ? left >= 0 : left == -1);
        belay_traceparent trace;
        if (belay_traceparent_parse(text, length, &trace) == BELAY_OK) {
            char again[BELAY_TRACEPARENT_SIZE];
            CHECK_IS(belay_traceparent_format(&trace, again, sizeof again), 55);
            CHECK(memcmp(again + 2, text + 2, 50) == 0);
        }
        ptrdiff_t size = belay_baggage_get(text, length, "k", value, sizeof value);
        CHECK(size <= 3 * (ptrdiff_t)length && (size < 0 || strlen(value) == (size_t)size));
        check_utf8(value);
        memcpy(list, bytes, length);
        list[length] = '\0';
        ptrdiff_t set = belay_baggage_set(list, sizeof list, "k", "v");
        CHECK(set >= 3 && set < (ptrdiff_t)sizeof list && strlen(list) == (size_t)set);
        check_member(list, "k", "v");
        free(text);
    }
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(grpc_timeouts_are_written_in_the_finest_unit),
        TEST(grpc_timeouts_are_read),
        TEST(milliseconds_are_written_and_read),
        TEST(a_timeout_survives_the_wire),
        TEST(a_context_goes_to_another_machine_and_back),
        TEST(a_traceparent_is_read_and_written),
        TEST(versions_of_traceparent),
        TEST(a_traceparent_has_one_form),
        TEST(baggage_is_read),
        TEST(values_are_utf8_whatever_comes),
        TEST(baggage_is_set),
        TEST(baggage_that_makes_no_sense_is_refused),
        TEST(baggage_has_limits),
        TEST(random_baggage_survives),
        TEST(missing_arguments_are_refused),
        TEST(random_bytes_do_no_harm),
    };
    RUN_TESTS(tests, "");
    return 0;
}
