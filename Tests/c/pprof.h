// SPDX-License-Identifier: Apache-2.0
//
// Reads as much of a profile (github.com/google/pprof, profile.proto) as the tests want to know, and checks that what
// refers to something refers to something that is there.
#ifndef PPROF_H
#define PPROF_H

#include "check.h"

enum { PPROF_SAMPLES = 8192, PPROF_FRAMES = 32, PPROF_THINGS = 1 << 15, PPROF_STRINGS = 1 << 16 };

struct pprof_sample {
    uint64_t values[2];
    size_t value_count, frame_count;
    uint64_t frames[PPROF_FRAMES]; // locations
    uint64_t label_key, label_value;
};

struct pprof {
    uint8_t *bytes;
    size_t size;
    struct { const char *text; size_t length; } strings[PPROF_STRINGS];
    size_t string_count;
    struct pprof_sample samples[PPROF_SAMPLES];
    size_t sample_count;
    struct { uint64_t address, mapping, function, line; } locations[PPROF_THINGS]; // by id, as the next
    struct { uint64_t name, file; } functions[PPROF_THINGS];
    struct { uint64_t start, limit, file, build; } mappings[256];
    size_t location_count, function_count, mapping_count;
    uint64_t types[2];
    size_t type_count;
    uint64_t period;
};

struct pprof_reader { const uint8_t *next, *end; };

static inline uint64_t pprof_varint(struct pprof_reader *reader) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        CHECK(reader->next < reader->end);
        uint8_t byte = *reader->next++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
    CHECK(!"a number of ten bytes at most");
    return 0;
}

// The next field: its number, and its value or its bytes. 0 at the end.
static inline uint64_t pprof_field(struct pprof_reader *reader, uint64_t *value, struct pprof_reader *inner) {
    if (reader->next == reader->end) return 0;
    uint64_t tag = pprof_varint(reader);
    CHECK((tag & 7) == 0 || (tag & 7) == 2);
    *value = pprof_varint(reader);
    if ((tag & 7) == 2) {
        CHECK(*value <= (uint64_t)(reader->end - reader->next));
        *inner = (struct pprof_reader){reader->next, reader->next + *value};
        reader->next += *value;
    }
    CHECK(tag >> 3 != 0);
    return tag >> 3;
}

static inline void pprof_read_sample(struct pprof *profile, struct pprof_reader reader) {
    CHECK(profile->sample_count < PPROF_SAMPLES);
    struct pprof_sample *sample = &profile->samples[profile->sample_count++];
    struct pprof_reader inner = {0};
    uint64_t value, part, field;
    *sample = (struct pprof_sample){0};
    while ((field = pprof_field(&reader, &value, &inner)) != 0) {
        if (field == 1) {
            CHECK(sample->frame_count < PPROF_FRAMES);
            sample->frames[sample->frame_count++] = value;
        } else if (field == 2) {
            CHECK(sample->value_count < 2);
            sample->values[sample->value_count++] = value;
        } else if (field == 3) {
            struct pprof_reader nothing;
            while ((part = pprof_field(&inner, &value, &nothing)) != 0)
                *(part == 1 ? &sample->label_key : &sample->label_value) = value;
        }
    }
}

// Reads fields 1 to 6 of a message into an array by field.
static inline void pprof_read_fields(struct pprof_reader reader, uint64_t fields[7], struct pprof_reader *line) {
    struct pprof_reader inner = {0};
    uint64_t value, field;
    memset(fields, 0, 7 * sizeof *fields);
    while ((field = pprof_field(&reader, &value, &inner)) != 0) {
        if (field < 7) fields[field] = value;
        if (line != NULL && field == 4) *line = inner;
    }
}

static inline struct pprof *pprof_read(uint8_t *bytes, size_t size) {
    struct pprof *profile = calloc(1, sizeof *profile);
    CHECK(profile != NULL);
    profile->bytes = bytes;
    profile->size = size;
    struct pprof_reader reader = {bytes, bytes + size}, inner = {0}, line;
    uint64_t value, field, fields[7], parts[7];
    while ((field = pprof_field(&reader, &value, &inner)) != 0) {
        line = (struct pprof_reader){0};
        switch (field) {
        case 1:
            pprof_read_fields(inner, fields, NULL);
            CHECK(profile->type_count < 2);
            profile->types[profile->type_count++] = fields[1];
            break;
        case 2: pprof_read_sample(profile, inner); break;
        case 3:
            pprof_read_fields(inner, fields, NULL);
            CHECK_IS(fields[1], ++profile->mapping_count);
            CHECK(profile->mapping_count < 256 && fields[2] < fields[3]);
            profile->mappings[fields[1]].start = fields[2];
            profile->mappings[fields[1]].limit = fields[3];
            profile->mappings[fields[1]].file = fields[5];
            profile->mappings[fields[1]].build = fields[6];
            break;
        case 4:
            pprof_read_fields(inner, fields, &line);
            CHECK_IS(fields[1], ++profile->location_count);
            CHECK(profile->location_count < PPROF_THINGS && fields[3] != 0);
            profile->locations[fields[1]].mapping = fields[2];
            profile->locations[fields[1]].address = fields[3];
            if (line.next != NULL) {
                pprof_read_fields(line, parts, NULL);
                profile->locations[fields[1]].function = parts[1];
                profile->locations[fields[1]].line = parts[2];
            }
            break;
        case 5:
            pprof_read_fields(inner, fields, NULL);
            CHECK_IS(fields[1], ++profile->function_count);
            CHECK(profile->function_count < PPROF_THINGS);
            profile->functions[fields[1]].name = fields[2];
            profile->functions[fields[1]].file = fields[4];
            break;
        case 6:
            CHECK(profile->string_count < PPROF_STRINGS);
            profile->strings[profile->string_count].text = (const char *)inner.next;
            profile->strings[profile->string_count++].length = (size_t)value;
            break;
        case 12: profile->period = value; break;
        default: break;
        }
    }
    CHECK(profile->string_count > 0 && profile->strings[0].length == 0);
    CHECK(profile->type_count > 0);
    for (size_t i = 0; i < profile->sample_count; i++) {
        CHECK_IS(profile->samples[i].value_count, profile->type_count);
        CHECK(profile->samples[i].label_value < profile->string_count);
        for (size_t j = 0; j < profile->samples[i].frame_count; j++)
            CHECK(profile->samples[i].frames[j] - 1 < profile->location_count);
    }
    for (size_t i = 1; i <= profile->location_count; i++) {
        uint64_t mapping = profile->locations[i].mapping, address = profile->locations[i].address;
        CHECK(mapping <= profile->mapping_count && profile->locations[i].function <= profile->function_count);
        if (mapping != 0)
            CHECK(profile->mappings[mapping].start <= address && address < profile->mappings[mapping].limit);
    }
    for (size_t i = 1; i <= profile->function_count; i++)
        CHECK(profile->functions[i].name < profile->string_count && profile->functions[i].file < profile->string_count);
    return profile;
}

static inline struct pprof *pprof_take(belay_profile_kind kind) {
    FILE *file = tmpfile();
    CHECK(file != NULL);
    CHECK_IS(belay_profile_write(kind, fileno(file)), BELAY_OK);
    CHECK_IS(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    uint8_t *bytes = malloc((size_t)size);
    rewind(file);
    CHECK_IS(fread(bytes, 1, (size_t)size, file), size);
    fclose(file);
    return pprof_read(bytes, (size_t)size);
}

static inline void pprof_free(struct pprof *profile) {
    free(profile->bytes);
    free(profile);
}

static inline bool pprof_says(const struct pprof *profile, uint64_t string, const char *text) {
    return profile->strings[string].length == strlen(text) &&
           memcmp(profile->strings[string].text, text, strlen(text)) == 0;
}

static inline bool pprof_ends(const struct pprof *profile, uint64_t string, const char *text) {
    size_t length = profile->strings[string].length;
    return length >= strlen(text) && memcmp(profile->strings[string].text + length - strlen(text), text, strlen(text)) == 0;
}

static inline bool pprof_is_in(const struct pprof *profile, const struct pprof_sample *sample, const char *function) {
    for (size_t i = 0; i < sample->frame_count; i++) {
        uint64_t at = profile->locations[sample->frames[i]].function;
        if (at != 0 && pprof_says(profile, profile->functions[at].name, function)) return true;
    }
    return false;
}

// The sum of the first values; of samples with this function on their stack, and with this label (NULL for any).
static inline uint64_t pprof_sum(const struct pprof *profile, const char *function, const char *label) {
    uint64_t sum = 0;
    for (size_t i = 0; i < profile->sample_count; i++) {
        const struct pprof_sample *sample = &profile->samples[i];
        if (function != NULL && !pprof_is_in(profile, sample, function)) continue;
        if (label != NULL && !pprof_says(profile, sample->label_value, label)) continue;
        sum += sample->values[0];
    }
    return sum;
}

#endif
