/*
 * Owners as strings, by way of this host's users and groups (idmap.h).
 *
 *     struct lookup   a question to this host (getpwnam and the like), and its answer
 *     struct idmap    the domain, the cache of lookups, and what was not understood
 */

#define _GNU_SOURCE
#include "nfs/proto/idmap.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_SIZE 256 /* lookups, also of what this host does not know; 40 KB */
/* Bytes for an entry of group(5) with its members: four times as many until it fits. */
#define FIRST_ROOM ((size_t)4096)
#define MAX_ROOM   ((size_t)16 << 20)

struct lookup {
    bool is_used;
    bool is_found;
    bool by_id; /* the name is asked for; else the id */
    enum idmap_kind kind;
    uint32_t id;
    char name[IDMAP_MAX_OWNER];
};

struct idmap {
    pthread_mutex_t mutex; /* for all but the domain and sends_users */
    atomic_bool sends_users;
    bool met_names;
    char unknown[IDMAP_MAX_OWNER];
    struct lookup cache[CACHE_SIZE];
    char domain[IDMAP_MAX_DOMAIN + 1];
};

struct idmap *idmap_new(const char *domain)
{
    struct idmap *idmap = calloc(1, sizeof(*idmap));
    if (!idmap)
        return NULL;
    pthread_mutex_init(&idmap->mutex, NULL);
    snprintf(idmap->domain, sizeof(idmap->domain), "%s", domain);
    return idmap;
}

void idmap_free(struct idmap *idmap)
{
    if (!idmap)
        return;
    pthread_mutex_destroy(&idmap->mutex);
    free(idmap);
}

bool idmap_has_domain(const struct idmap *idmap)
{
    return idmap->domain[0];
}

void idmap_send_users(struct idmap *idmap)
{
    atomic_store(&idmap->sends_users, true);
}

bool idmap_met_names(struct idmap *idmap)
{
    pthread_mutex_lock(&idmap->mutex);
    bool met_names = idmap->met_names;
    pthread_mutex_unlock(&idmap->mutex);
    return met_names;
}

void idmap_first_unknown(struct idmap *idmap, char text[IDMAP_MAX_OWNER])
{
    pthread_mutex_lock(&idmap->mutex);
    memcpy(text, idmap->unknown, IDMAP_MAX_OWNER);
    pthread_mutex_unlock(&idmap->mutex);
}

/* ---- this host's users and groups */

/* Find an id by a name, or a name by an id. Returns 0 or -errno; -ERANGE: the room is too small. */
static int ask_host_within(struct lookup *lookup, char *room, size_t size)
{
    struct passwd user, *is_user = NULL;
    struct group group, *is_group = NULL;
    int error;
    if (lookup->kind == IDMAP_USER && lookup->by_id)
        error = getpwuid_r(lookup->id, &user, room, size, &is_user);
    else if (lookup->kind == IDMAP_USER)
        error = getpwnam_r(lookup->name, &user, room, size, &is_user);
    else if (lookup->by_id)
        error = getgrgid_r(lookup->id, &group, room, size, &is_group);
    else
        error = getgrnam_r(lookup->name, &group, room, size, &is_group);
    lookup->is_found = is_user || is_group;
    if (lookup->is_found && lookup->by_id)
        snprintf(lookup->name, sizeof(lookup->name), "%s", is_user ? user.pw_name : group.gr_name);
    else if (lookup->is_found)
        lookup->id = is_user ? user.pw_uid : group.gr_gid;
    /* "Not found" has several errors: getpwnam(3). */
    bool is_absent = error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
    return is_absent ? 0 : -error;
}

static int ask_host(struct lookup *lookup)
{
    int error = -ERANGE;
    for (size_t size = FIRST_ROOM; error == -ERANGE && size <= MAX_ROOM; size *= 4) {
        char *room = malloc(size);
        if (!room)
            return -ENOMEM;
        error = ask_host_within(lookup, room, size);
        free(room);
    }
    return error == 0 || error == -ENOMEM ? error : -EIO;
}

static size_t cache_index(const struct lookup *lookup)
{
    size_t hash = lookup->kind + 2U * lookup->by_id + 4U * lookup->id;
    for (const char *at = lookup->name; !lookup->by_id && *at; at++)
        hash = 31 * hash + (uint8_t)*at;
    return hash % CACHE_SIZE;
}

static bool is_same(const struct lookup *one, const struct lookup *other)
{
    if (!one->is_used || one->kind != other->kind || one->by_id != other->by_id)
        return false;
    return one->by_id ? one->id == other->id : strcmp(one->name, other->name) == 0;
}

/* Answer a lookup from the cache, or ask this host. The mutex is held, so that it is asked once. */
static int look_up(struct idmap *idmap, struct lookup *lookup)
{
    struct lookup *there = &idmap->cache[cache_index(lookup)];
    if (is_same(there, lookup)) {
        *lookup = *there;
        return 0;
    }
    int error = ask_host(lookup);
    if (error == 0) {
        lookup->is_used = true;
        *there = *lookup;
    }
    return error;
}

static int name_of(struct idmap *idmap, enum idmap_kind kind, uint32_t id, struct lookup *lookup)
{
    *lookup = (struct lookup){.kind = kind, .by_id = true, .id = id};
    return look_up(idmap, lookup);
}

/* Say whether owners of a kind are sent, so that they must be sent as they came. */
static bool is_sent(struct idmap *idmap, enum idmap_kind kind)
{
    return kind == IDMAP_GROUP || atomic_load(&idmap->sends_users);
}

/* ---- owners as strings */

/* RFC 7530, section 5.9: digits without leading zeros. */
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

/* Read a number that is to be sent although there is a domain: it must have no name here. */
static int read_number(struct idmap *idmap, enum idmap_kind kind, uint32_t id)
{
    struct lookup lookup;
    int error = name_of(idmap, kind, id, &lookup);
    return error == 0 && lookup.is_found ? -ENOTUNIQ : error;
}

/* Remove the domain from a name; false if it is another one. */
static bool strip_domain(const struct idmap *idmap, char *name)
{
    char *at = strrchr(name, '@');
    if (!at || strcasecmp(at + 1, idmap->domain) != 0)
        return false;
    *at = '\0';
    return true;
}

static int read_name(struct idmap *idmap, enum idmap_kind kind, const uint8_t *text, size_t length,
                     uint32_t *id)
{
    struct lookup lookup = {.kind = kind}, back;
    if (length >= IDMAP_MAX_OWNER || memchr(text, '\0', length))
        return -ENOKEY;
    memcpy(lookup.name, text, length);
    if (!strip_domain(idmap, lookup.name))
        return -ENOKEY;
    int error = look_up(idmap, &lookup);
    if (error < 0 || !lookup.is_found)
        return error < 0 ? error : -ENOKEY;
    *id = lookup.id;
    if (!is_sent(idmap, kind))
        return 0;
    error = name_of(idmap, kind, lookup.id, &back);
    return error == 0 && strcmp(back.name, lookup.name) != 0 ? -ENOTUNIQ : error;
}

int idmap_read(struct idmap *idmap, enum idmap_kind kind, const uint8_t *text, size_t length,
               uint32_t *id)
{
    bool has_number = is_number(text, length, id);
    int error;
    if (has_number && (!is_sent(idmap, kind) || !idmap_has_domain(idmap)))
        return 0;
    pthread_mutex_lock(&idmap->mutex);
    if (has_number) {
        error = read_number(idmap, kind, *id);
    } else if (!idmap_has_domain(idmap)) {
        error = -EPROTOTYPE;
        idmap->met_names = true;
    } else {
        error = read_name(idmap, kind, text, length, id);
    }
    if (error < 0 && !idmap->unknown[0]) {
        size_t kept = length < IDMAP_MAX_OWNER ? length : IDMAP_MAX_OWNER - 1;
        memcpy(idmap->unknown, text, kept);
        idmap->unknown[kept] = '\0';
    }
    pthread_mutex_unlock(&idmap->mutex);
    return error;
}

size_t idmap_write(struct idmap *idmap, enum idmap_kind kind, uint32_t id,
                   char text[IDMAP_MAX_OWNER])
{
    struct lookup lookup = {0};
    int length = 0;
    if (idmap_has_domain(idmap)) {
        pthread_mutex_lock(&idmap->mutex);
        int error = name_of(idmap, kind, id, &lookup);
        pthread_mutex_unlock(&idmap->mutex);
        /* If this host cannot tell, "@domain" is sent: nobody's name, which the server refuses. */
        if (error < 0 || lookup.is_found)
            length = snprintf(text, IDMAP_MAX_OWNER, "%s@%s", lookup.name, idmap->domain);
        if (length >= IDMAP_MAX_OWNER)
            length = snprintf(text, IDMAP_MAX_OWNER, "@%s", idmap->domain);
    }
    if (length == 0)
        length = snprintf(text, IDMAP_MAX_OWNER, "%u", (unsigned)id);
    return (size_t)length;
}
