#define _GNU_SOURCE
#include "nfs/idmap.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHED 256 /* answers of this host, found ones and others; 40 KB */
/* Bytes for an entry of a group with its members: more are asked for until it fits. */
#define FIRST_ROOM ((size_t)4096)
#define MOST_ROOM  ((size_t)16 << 20)

/* What this host said of an owner's text: an answer, or of a gid: its name. */
struct said {
    bool is_used;
    bool is_known;
    bool is_name; /* asked for by number */
    enum owner kind;
    uint32_t id;
    char name[MOST_OWNER];
};

struct names {
    pthread_mutex_t mutex; /* for all but the domain */
    bool were_met;
    char unknown[MOST_OWNER];
    struct said said[CACHED];
    char domain[MOST_DOMAIN + 1];
};

struct names *names_make(const char *domain)
{
    struct names *names = calloc(1, sizeof(*names));
    if (!names)
        return NULL;
    pthread_mutex_init(&names->mutex, NULL);
    snprintf(names->domain, sizeof(names->domain), "%s", domain);
    return names;
}

void names_free(struct names *names)
{
    if (!names)
        return;
    pthread_mutex_destroy(&names->mutex);
    free(names);
}

bool names_have_domain(const struct names *names)
{
    return names->domain[0];
}

bool names_were_met(struct names *names)
{
    pthread_mutex_lock(&names->mutex);
    bool were_met = names->were_met;
    pthread_mutex_unlock(&names->mutex);
    return were_met;
}

void names_unknown(struct names *names, char text[MOST_OWNER])
{
    pthread_mutex_lock(&names->mutex);
    memcpy(text, names->unknown, MOST_OWNER);
    pthread_mutex_unlock(&names->mutex);
}

/* ---- this host's users and groups */

/* Ask for what `said` has: an id by its name, or a name by its id. 0, or -errno; or -ERANGE: more room. */
static int ask_with(struct said *said, char *room, size_t size)
{
    struct passwd user, *is_user = NULL;
    struct group group, *is_group = NULL;
    int error;
    if (said->kind == OWNER_USER)
        error = getpwnam_r(said->name, &user, room, size, &is_user);
    else if (said->is_name)
        error = getgrgid_r(said->id, &group, room, size, &is_group);
    else
        error = getgrnam_r(said->name, &group, room, size, &is_group);
    said->is_known = is_user || is_group;
    if (is_user)
        said->id = user.pw_uid;
    if (is_group && !said->is_name)
        said->id = group.gr_gid;
    if (is_group && said->is_name)
        snprintf(said->name, sizeof(said->name), "%s", group.gr_name);
    /* Not all say it in one way that there is none: getpwnam(3). */
    bool is_absent = error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
    return is_absent ? 0 : -error;
}

static int ask_host(struct said *said)
{
    int error = -ERANGE;
    for (size_t size = FIRST_ROOM; error == -ERANGE && size <= MOST_ROOM; size *= 4) {
        char *room = malloc(size);
        if (!room)
            return -ENOMEM;
        error = ask_with(said, room, size);
        free(room);
    }
    return error == 0 || error == -ENOMEM ? error : -EIO;
}

static size_t place_of(const struct said *said)
{
    size_t hash = said->kind + 2U * said->is_name + 4U * said->id;
    for (const char *at = said->name; !said->is_name && *at; at++)
        hash = 31 * hash + (uint8_t)*at;
    return hash % CACHED;
}

static bool is_same(const struct said *one, const struct said *other)
{
    if (!one->is_used || one->kind != other->kind || one->is_name != other->is_name)
        return false;
    return one->is_name ? one->id == other->id : strcmp(one->name, other->name) == 0;
}

/* Look up what `said` asks for; the mutex is held, so that each is asked for once. */
static int look_up(struct names *names, struct said *said)
{
    struct said *there = &names->said[place_of(said)];
    if (is_same(there, said)) {
        *said = *there;
        return 0;
    }
    int error = ask_host(said);
    if (error == 0) {
        said->is_used = true;
        *there = *said;
    }
    return error;
}

static int name_of(struct names *names, uint32_t gid, struct said *said)
{
    *said = (struct said){.kind = OWNER_GROUP, .is_name = true, .id = gid};
    return look_up(names, said);
}

/* ---- texts */

/* Section 5.9: digits without leading zeros. */
static bool is_number(const uint8_t *text, size_t length, uint32_t *id)
{
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text[i] - '0');
        if (number > UINT32_MAX)
            return false;
    }
    *id = (uint32_t)number;
    return length > 0 && (length == 1 || text[0] != '0');
}

/* A group's number, where groups have names. */
static int read_number(struct names *names, uint32_t id)
{
    struct said said;
    int error = name_of(names, id, &said);
    return error == 0 && said.is_known ? -ENOTUNIQ : error;
}

/* Take the domain off a name, if it is ours. */
static bool is_ours(const struct names *names, char *name)
{
    char *at = strrchr(name, '@');
    if (!at || strcasecmp(at + 1, names->domain) != 0)
        return false;
    *at = '\0';
    return true;
}

static int read_name(struct names *names, enum owner kind, const uint8_t *text, size_t length,
                     uint32_t *id)
{
    struct said said = {.kind = kind}, back;
    if (length >= MOST_OWNER || memchr(text, '\0', length))
        return -ENOKEY;
    memcpy(said.name, text, length);
    if (!is_ours(names, said.name))
        return -ENOKEY;
    int error = look_up(names, &said);
    if (error < 0 || !said.is_known)
        return error < 0 ? error : -ENOKEY;
    *id = said.id;
    if (kind == OWNER_USER)
        return 0;
    error = name_of(names, said.id, &back);
    return error == 0 && strcmp(back.name, said.name) != 0 ? -ENOTUNIQ : error;
}

int names_read(struct names *names, enum owner kind, const uint8_t *text, size_t length,
               uint32_t *id)
{
    bool has_number = is_number(text, length, id);
    int error;
    if (has_number && (kind == OWNER_USER || !names_have_domain(names)))
        return 0;
    pthread_mutex_lock(&names->mutex);
    if (has_number) {
        error = read_number(names, *id);
    } else if (!names_have_domain(names)) {
        error = -EPROTOTYPE;
        names->were_met = true;
    } else {
        error = read_name(names, kind, text, length, id);
    }
    if (error < 0 && !names->unknown[0]) {
        size_t kept = length < MOST_OWNER ? length : MOST_OWNER - 1;
        memcpy(names->unknown, text, kept);
        names->unknown[kept] = '\0';
    }
    pthread_mutex_unlock(&names->mutex);
    return error;
}

size_t names_write(struct names *names, uint32_t gid, char text[MOST_OWNER])
{
    struct said said = {0};
    int length = 0;
    if (names_have_domain(names)) {
        pthread_mutex_lock(&names->mutex);
        int error = name_of(names, gid, &said);
        pthread_mutex_unlock(&names->mutex);
        /* If this host cannot say, nobody's name is sent, which the server refuses. */
        if (error < 0 || said.is_known)
            length = snprintf(text, MOST_OWNER, "%s@%s", said.name, names->domain);
        if (length >= MOST_OWNER)
            length = snprintf(text, MOST_OWNER, "@%s", names->domain);
    }
    if (length == 0)
        length = snprintf(text, MOST_OWNER, "%u", (unsigned)gid);
    return (size_t)length;
}
