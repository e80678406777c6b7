/*
 * Names and paths that came from Python, which are not trusted: none may lead anywhere but to an
 * entry below its directory. And the names of directories that a scan does not enter.
 */

#ifndef ARCHIPMIGRATE_CORE_NAMES_H
#define ARCHIPMIGRATE_CORE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Say whether this is `.` or `..`. */
bool name_is_dots(const void *name, size_t length);

/*
 * Say whether this may be the name of an entry: not empty, no slash, no NUL, neither `.` nor `..`.
 */
bool name_is_component(const uint8_t *name, size_t length);

/*
 * Say whether this is a path from the root: components with a slash between them, or empty. The
 * first `checked` bytes are the beginning of a path that was found to be one.
 */
bool path_is_plain(const uint8_t *path, size_t length, size_t checked);

/* Say whether excluded names are packed well: u8 length, name; for each. */
bool excludes_are_valid(const uint8_t *excludes, size_t length);

/* Say whether a name is one of the excluded, or of others that are packed like these. */
bool excludes_have(const uint8_t *excludes, size_t length, const void *name, size_t name_length);

#endif
