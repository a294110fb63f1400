/*
 * A stand-in for libnvidia-ml.so.1 that judges its caller as strictly as the real library does: handles, enums,
 * structure versions and buffer sizes are checked, nothing works before nvmlInit or in a forked child, and shutting
 * down under a call that is still running aborts the process.
 *
 * The machine it plays is a text file named by NVML_STAND_IN, read anew at every call, one "key value" a line:
 *
 *   init 18                     nvmlInit fails with this code
 *   driver 550.54.15            count 2
 *   0.uuid GPU-…                a device's readings: a value, or "!3" for error 3; a missing one is not supported
 *   0.lost 1                    the device has fallen off the bus
 *   0.violation.1 2000          nanoseconds by policy;  0.ecc.0 by error type;  0.process.0 "PID BYTES"
 *   0.mig 1                     MIG mode;  0:1.uuid MIG-…  0:1.gi 7  0:1.ci 0  the MIG device in slot 1
 *   hang nvmlDeviceGetPowerUsage    the function does not return while this line is there
 *   xid.1 "0 79 4294967295"     device, Xid and GPU instance of an event; numbers go up
 *
 * Every call is written to NVML_STAND_IN_LOG as "pid tid function".
 * Signatures and error rules: NVML API reference, nvidia.com/deploy/nvml-api.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    TIMEOUT = 10, GPU_IS_LOST = 15, VERSION_MISMATCH = 25, UNKNOWN = 999
};
enum { MAX_GPUS = 16, MAX_SLOTS = 7, MAX_SETS = 32, XID_EVENT = 8, MEMORY_V2 = 0x02000028 };
#define ANY_INSTANCE 0xFFFFFFFFu

typedef struct { unsigned magic; unsigned generation; int gpu; int slot; } device_t;
typedef struct { unsigned magic; unsigned generation; int gpus[MAX_GPUS]; int count; unsigned long seen; } set_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned long long reference, violation; } violation_t;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process_t;
typedef struct { device_t *device; unsigned long long type, data; unsigned gi, ci; } event_t;
typedef struct {
    char legacy[16]; unsigned domain, bus, device, device_id, subsystem_id; char bus_id[32];
} pci_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int references;
static pid_t owner;
static unsigned generation;
static atomic_int in_flight;
static device_t devices[MAX_GPUS * (MAX_SLOTS + 1)];
static set_t sets[MAX_SETS];
static int set_count;

/* ---- the machine's file ---- */

static int look_up(const char *key, char *value, size_t size) {
    const char *path = getenv("NVML_STAND_IN");
    FILE *file = path ? fopen(path, "re") : NULL;
    char line[512];
    int found = 0;
    size_t length = strlen(key);
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    }
    if (file) fclose(file);
    return found;
}

static long long number(const char *key, long long missing) {
    char value[256];
    return look_up(key, value, sizeof value) ? strtoll(value, NULL, 0) : missing;
}

static void name_of(const device_t *device, char *name, size_t size) {
    if (device->slot < 0) snprintf(name, size, "%d", device->gpu);
    else snprintf(name, size, "%d:%d", device->gpu, device->slot);
}

/* One reading of a device as text: SUCCESS, the error its line asks for, or NOT_SUPPORTED without a line. */
static int reading(const device_t *device, const char *what, char *value, size_t size) {
    char name[16], key[96];
    name_of(device, name, sizeof name);
    snprintf(key, sizeof key, "%s.%s", name, what);
    if (!look_up(key, value, size)) return NOT_SUPPORTED;
    return value[0] == '!' ? atoi(value + 1) : SUCCESS;
}

static int reading_number(const device_t *device, const char *what, unsigned long long *out) {
    char value[256];
    int code = reading(device, what, value, sizeof value);
    if (code == SUCCESS) *out = strtoull(value, NULL, 0);
    return code;
}

/* ---- what every call goes through ---- */

static int enter(const char *function) {
    const char *path = getenv("NVML_STAND_IN_LOG");
    FILE *log = path ? fopen(path, "ae") : NULL;
    char hanging[128];
    if (log) {
        fprintf(log, "%d %ld %s\n", (int)getpid(), (long)syscall(SYS_gettid), function);
        fclose(log);
    }
    atomic_fetch_add(&in_flight, 1);
    while (look_up("hang", hanging, sizeof hanging) && strcmp(hanging, function) == 0) usleep(5000);
    return references > 0 && owner == getpid() ? SUCCESS : UNINITIALIZED;
}

static int leave(int code) {
    atomic_fetch_sub(&in_flight, 1);
    return code;
}

static int known(const device_t *device) {
    for (int i = 0; i < MAX_GPUS * (MAX_SLOTS + 1); i++)
        if (device == &devices[i]) return device->magic == 0x6770752eu && device->generation == generation;
    return 0;
}

static int lost(const device_t *device) {
    char key[32];
    snprintf(key, sizeof key, "%d.lost", device->gpu);
    return number(key, 0) != 0;
}

static int checked(const char *function, const device_t *device, const void *out) {
    int code = enter(function);
    if (code != SUCCESS) return code;
    if (!out || !known(device)) return INVALID_ARGUMENT;
    return lost(device) ? GPU_IS_LOST : SUCCESS;
}

static device_t *handle(int gpu, int slot) {
    device_t *device = &devices[gpu * (MAX_SLOTS + 1) + slot + 1];
    *device = (device_t){0x6770752eu, generation, gpu, slot};
    return device;
}

static int text(const char *function, device_t *device, const char *what, char *out, unsigned size) {
    char value[256];
    int code = checked(function, device, out);
    if (code == SUCCESS) code = reading(device, what, value, sizeof value);
    if (code == SUCCESS && strlen(value) + 1 > size) code = INSUFFICIENT_SIZE;
    if (code == SUCCESS) strcpy(out, value);
    return leave(code);
}

static int whole(const char *function, device_t *device, const char *what, unsigned *out) {
    unsigned long long value = 0;
    int code = checked(function, device, out);
    if (code == SUCCESS) code = reading_number(device, what, &value);
    if (code == SUCCESS) *out = (unsigned)value;
    return leave(code);
}

static int whole64(const char *function, device_t *device, const char *what, unsigned long long *out) {
    unsigned long long value = 0;
    int code = checked(function, device, out);
    if (code == SUCCESS) code = reading_number(device, what, &value);
    if (code == SUCCESS) *out = value;
    return leave(code);
}

/* ---- library ---- */

int nvmlInitWithFlags(unsigned flags) {
    enter("nvmlInitWithFlags");
    int code = flags > 3 ? INVALID_ARGUMENT : (int)number("init", SUCCESS);
    pthread_mutex_lock(&lock);
    if (code == SUCCESS) {
        /* A forked child starts over: what it inherited was never its own. */
        if (owner != getpid()) {
            references = 0;
            atomic_store(&in_flight, 1);
        }
        if (references++ == 0) generation++;
        owner = getpid();
    }
    pthread_mutex_unlock(&lock);
    return leave(code);
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    int code = enter("nvmlShutdown");
    pthread_mutex_lock(&lock);
    if (code == SUCCESS && references == 1 && atomic_load(&in_flight) > 1) {
        fprintf(stderr, "nvml stand-in: nvmlShutdown while another call is running\n");
        abort();
    }
    if (code == SUCCESS) references--;
    pthread_mutex_unlock(&lock);
    return leave(code);
}

const char *nvmlErrorString(int code) { return code == 31 ? "Something newer than the binding" : "Unknown Error"; }

int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    char value[80];
    int code = enter("nvmlSystemGetDriverVersion");
    if (code == SUCCESS && !version) code = INVALID_ARGUMENT;
    if (code == SUCCESS && !look_up("driver", value, sizeof value)) code = UNKNOWN;
    if (code == SUCCESS && value[0] == '!') code = atoi(value + 1);
    if (code == SUCCESS && strlen(value) + 1 > size) code = INSUFFICIENT_SIZE;
    if (code == SUCCESS) strcpy(version, value);
    return leave(code);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    int code = enter("nvmlDeviceGetCount_v2");
    if (code == SUCCESS && !count) code = INVALID_ARGUMENT;
    if (code == SUCCESS) *count = (unsigned)number("count", 0);
    return leave(code);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **device) {
    int code = enter("nvmlDeviceGetHandleByIndex_v2");
    if (code == SUCCESS && (!device || index >= number("count", 0))) code = INVALID_ARGUMENT;
    if (code == SUCCESS) {
        device_t *found = handle((int)index, -1);
        code = lost(found) ? GPU_IS_LOST : SUCCESS;
        if (code == SUCCESS) *device = found;
    }
    return leave(code);
}

/* ---- identity ---- */

int nvmlDeviceGetUUID(device_t *d, char *out, unsigned size) { return text("nvmlDeviceGetUUID", d, "uuid", out, size); }
int nvmlDeviceGetName(device_t *d, char *out, unsigned size) { return text("nvmlDeviceGetName", d, "name", out, size); }

int nvmlDeviceGetPciInfo_v3(device_t *device, pci_t *pci) {
    char value[64];
    int code = checked("nvmlDeviceGetPciInfo_v3", device, pci);
    device_t parent = code == SUCCESS ? (device_t){device->magic, device->generation, device->gpu, -1} : (device_t){0};
    if (code == SUCCESS) code = reading(&parent, "pci", value, sizeof value);
    if (code == SUCCESS) {
        memset(pci, 0, sizeof *pci);
        value[sizeof pci->bus_id - 1] = 0;
        strcpy(pci->bus_id, value);
    }
    return leave(code);
}

/* ---- MIG ---- */

static int is_mig(const device_t *device) { return device->slot >= 0; }

int nvmlDeviceGetMigMode(device_t *device, unsigned *current, unsigned *pending) {
    unsigned long long mode = 0;
    int code = checked("nvmlDeviceGetMigMode", device, current);
    if (code == SUCCESS && !pending) code = INVALID_ARGUMENT;
    if (code == SUCCESS && is_mig(device)) code = INVALID_ARGUMENT;
    if (code == SUCCESS) code = reading_number(device, "mig", &mode);
    if (code == SUCCESS) *current = *pending = (unsigned)mode;
    return leave(code);
}

int nvmlDeviceGetMaxMigDeviceCount(device_t *device, unsigned *count) {
    unsigned long long mode = 0;
    int code = checked("nvmlDeviceGetMaxMigDeviceCount", device, count);
    if (code == SUCCESS && is_mig(device)) code = INVALID_ARGUMENT;
    if (code == SUCCESS) *count = reading_number(device, "mig", &mode) == SUCCESS && mode ? MAX_SLOTS : 0;
    return leave(code);
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t *device, unsigned index, device_t **mig) {
    char value[128];
    int code = checked("nvmlDeviceGetMigDeviceHandleByIndex", device, mig);
    if (code == SUCCESS && (is_mig(device) || index >= MAX_SLOTS)) code = INVALID_ARGUMENT;
    if (code == SUCCESS) {
        device_t probe = {device->magic, device->generation, device->gpu, (int)index};
        if (reading(&probe, "uuid", value, sizeof value) != SUCCESS) code = NOT_FOUND;
        else *mig = handle(device->gpu, (int)index);
    }
    return leave(code);
}

static int instance(const char *function, device_t *device, const char *what, unsigned *id) {
    unsigned long long value = 0;
    int code = checked(function, device, id);
    if (code == SUCCESS && !is_mig(device)) code = INVALID_ARGUMENT;
    if (code == SUCCESS) code = reading_number(device, what, &value);
    if (code == SUCCESS) *id = (unsigned)value;
    return leave(code);
}

int nvmlDeviceGetGpuInstanceId(device_t *d, unsigned *id) { return instance("nvmlDeviceGetGpuInstanceId", d, "gi", id); }
int nvmlDeviceGetComputeInstanceId(device_t *d, unsigned *id) {
    return instance("nvmlDeviceGetComputeInstanceId", d, "ci", id);
}

/* ---- readings ---- */

int nvmlDeviceGetUtilizationRates(device_t *device, utilization_t *out) {
    unsigned value = 0;
    int code = whole("nvmlDeviceGetUtilizationRates", device, "utilization", out ? &value : NULL);
    if (code == SUCCESS) *out = (utilization_t){value, value / 2};
    return code;
}

static int memory(const char *function, device_t *device, const void *out, unsigned long long values[3]) {
    static const char *const names[] = {"memory_total", "memory_used", "memory_reserved"};
    int code = checked(function, device, out);
    for (int i = 0; i < 3 && code == SUCCESS; i++) code = reading_number(device, names[i], &values[i]);
    return leave(code);
}

int nvmlDeviceGetMemoryInfo(device_t *device, memory_t *out) {
    unsigned long long v[3] = {0};
    int code = memory("nvmlDeviceGetMemoryInfo", device, out, v);
    /* The first version counts what the driver keeps for itself as used. */
    if (code == SUCCESS) *out = (memory_t){v[0], v[0] - v[1] - v[2], v[1] + v[2]};
    return code;
}

#ifndef OLD_DRIVER
int nvmlDeviceGetMemoryInfo_v2(device_t *device, memory_v2_t *out) {
    unsigned long long v[3] = {0};
    if (out && out->version != MEMORY_V2) return VERSION_MISMATCH;
    int code = memory("nvmlDeviceGetMemoryInfo_v2", device, out, v);
    if (code == SUCCESS) *out = (memory_v2_t){MEMORY_V2, v[0], v[2], v[0] - v[1] - v[2], v[1]};
    return code;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device_t *device, unsigned *count, process_t *out) {
    int code = checked("nvmlDeviceGetComputeRunningProcesses_v3", device, count);
    char value[64];
    unsigned have = 0;
    if (code == SUCCESS) code = reading(device, "processes", value, sizeof value);
    if (code == SUCCESS) {
        have = (unsigned)atoi(value);
        if (*count < have || (have && !out)) code = INSUFFICIENT_SIZE;
        *count = have;
    }
    for (unsigned i = 0; code == SUCCESS && i < have; i++) {
        char what[32];
        unsigned pid = 0;
        char used[32] = "";
        snprintf(what, sizeof what, "process.%u", i);
        code = reading(device, what, value, sizeof value);
        sscanf(value, "%u %31s", &pid, used);
        out[i] = (process_t){pid, strtoull(used, NULL, 0), ANY_INSTANCE, ANY_INSTANCE};
    }
    return leave(code);
}
#endif

int nvmlDeviceGetTemperature(device_t *device, unsigned sensor, unsigned *out) {
    int code = whole("nvmlDeviceGetTemperature", device, "temperature", out);
    return sensor == 0 ? code : INVALID_ARGUMENT;
}

int nvmlDeviceGetTemperatureThreshold(device_t *device, unsigned threshold, unsigned *out) {
    int code = whole("nvmlDeviceGetTemperatureThreshold", device, threshold == 1 ? "slowdown" : "shutdown", out);
    return threshold <= 1 ? code : INVALID_ARGUMENT;
}

int nvmlDeviceGetClockInfo(device_t *device, unsigned type, unsigned *out) {
    int code = whole("nvmlDeviceGetClockInfo", device, type == 1 ? "sm_clock" : "other_clock", out);
    return type <= 3 ? code : INVALID_ARGUMENT;
}

int nvmlDeviceGetPowerUsage(device_t *d, unsigned *out) { return whole("nvmlDeviceGetPowerUsage", d, "power", out); }
int nvmlDeviceGetEnforcedPowerLimit(device_t *d, unsigned *out) {
    return whole("nvmlDeviceGetEnforcedPowerLimit", d, "power_limit", out);
}
int nvmlDeviceGetTotalEnergyConsumption(device_t *d, unsigned long long *out) {
    return whole64("nvmlDeviceGetTotalEnergyConsumption", d, "energy", out);
}

int nvmlDeviceGetViolationStatus(device_t *device, unsigned policy, violation_t *out) {
    char what[32];
    unsigned long long value = 0;
    snprintf(what, sizeof what, "violation.%u", policy);
    int code = whole64("nvmlDeviceGetViolationStatus", device, what, out ? &value : NULL);
    if (policy >= 12) return INVALID_ARGUMENT;
    if (code == SUCCESS) *out = (violation_t){1, value};
    return code;
}

int nvmlDeviceGetTotalEccErrors(device_t *device, unsigned type, unsigned counter, unsigned long long *out) {
    char what[32];
    snprintf(what, sizeof what, "ecc.%u.%u", type, counter);
    int code = whole64("nvmlDeviceGetTotalEccErrors", device, what, out);
    return type <= 1 && counter <= 1 ? code : INVALID_ARGUMENT;
}

/* ---- events ---- */

int nvmlDeviceGetSupportedEventTypes(device_t *device, unsigned long long *types) {
    unsigned long long value = 0;
    int code = checked("nvmlDeviceGetSupportedEventTypes", device, types);
    if (code == SUCCESS && is_mig(device)) code = INVALID_ARGUMENT;
    if (code == SUCCESS) code = reading_number(device, "events", &value) == NOT_SUPPORTED ? SUCCESS : code;
    if (code == SUCCESS) *types = value;
    return leave(code);
}

static int known_set(const set_t *set) {
    for (int i = 0; i < MAX_SETS; i++)
        if (set == &sets[i]) return set->magic == 0x7365742eu && set->generation == generation;
    return 0;
}

static int event_at(unsigned long index, unsigned *gpu, unsigned long long *xid, unsigned *gi) {
    char key[32], value[96];
    snprintf(key, sizeof key, "xid.%lu", index);
    return look_up(key, value, sizeof value) && sscanf(value, "%u %llu %u", gpu, xid, gi) == 3;
}

int nvmlEventSetCreate(set_t **set) {
    int code = enter("nvmlEventSetCreate");
    if (code == SUCCESS && (!set || set_count == MAX_SETS)) code = INVALID_ARGUMENT;
    if (code == SUCCESS) {
        unsigned gpu, gi;
        unsigned long long xid;
        *set = &sets[set_count++];
        **set = (set_t){0x7365742eu, generation, {0}, 0, 0};
        /* What happened before is not recorded. */
        while (event_at((*set)->seen + 1, &gpu, &xid, &gi)) (*set)->seen++;
    }
    return leave(code);
}

int nvmlDeviceRegisterEvents(device_t *device, unsigned long long types, set_t *set) {
    unsigned long long supported = 0;
    int code = checked("nvmlDeviceRegisterEvents", device, set);
    if (code == SUCCESS && (is_mig(device) || !known_set(set))) code = INVALID_ARGUMENT;
    if (code == SUCCESS && (reading_number(device, "events", &supported) != SUCCESS || (types & ~supported)))
        code = NOT_SUPPORTED;
    if (code == SUCCESS) set->gpus[set->count++] = device->gpu;
    return leave(code);
}

int nvmlEventSetWait_v2(set_t *set, event_t *out, unsigned timeout_ms) {
    int code = enter("nvmlEventSetWait_v2");
    if (code == SUCCESS && (!out || !known_set(set))) code = INVALID_ARGUMENT;
    if (code == SUCCESS && number("wait", SUCCESS) != SUCCESS) code = (int)number("wait", SUCCESS);
    unsigned waited_ms = 0;
    while (code == SUCCESS) {
        unsigned gpu, gi;
        unsigned long long xid;
        int ours = 0;
        if (event_at(set->seen + 1, &gpu, &xid, &gi)) {
            set->seen++;
            for (int i = 0; i < set->count; i++) ours |= set->gpus[i] == (int)gpu;
            if (!ours) continue;
            *out = (event_t){handle((int)gpu, -1), XID_EVENT, xid, gi, gi == ANY_INSTANCE ? ANY_INSTANCE : 0};
            break;
        }
        if (waited_ms >= timeout_ms) code = TIMEOUT;
        usleep(5000);
        waited_ms += 5;
    }
    return leave(code);
}

int nvmlEventSetFree(set_t *set) {
    int code = enter("nvmlEventSetFree");
    if (code == SUCCESS && !known_set(set)) code = INVALID_ARGUMENT;
    if (code == SUCCESS) set->magic = 0;
    return leave(code);
}
