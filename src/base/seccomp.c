/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/net.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"

/* --- what differs between processors
 * ------------------------------------------------------------------ */

#if defined(__x86_64__) && !defined(__ILP32__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__arm__) && defined(__ARMEL__) && defined(__ARM_EABI__)
#define ARCH AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define ARCH AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define ARCH AUDIT_ARCH_S390X
#elif defined(__loongarch_lp64)
#define ARCH (258u | __AUDIT_ARCH_64BIT | __AUDIT_ARCH_LE)
#else
#define ARCH 0 /* no filter */
#endif

#ifdef __s390x__
#define CLONE_FLAGS 1 /* which argument they are */
#else
#define CLONE_FLAGS 0
#endif

/* The half of an argument that holds its value. */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LOW_HALF sizeof(uint32_t)
#else
#define LOW_HALF 0
#endif

#define TERMINAL_PASTE 0x541c /* TIOCLINUX, which no header of the C library's has */

/* Above these numbers lies another numbering of the same calls (x32). */
#define NUMBERS_MOST 0x3fffffffu

/* Calls that are younger than some headers; all processors number them alike. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#define SYS_io_uring_enter 426
#define SYS_io_uring_register 427
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#define SYS_fspick 433
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#define SYS_setxattrat_ 463
#define SYS_removexattrat_ 466
#define SYS_open_tree_attr_ 467
#define SYS_file_setattr_ 469

/* --- the calls
 * ---------------------------------------------------------------------------------------- */

/* Refused whatever their arguments. */
static const int refused[] = {
    /* running programs, making processes */
    SYS_execve,
    SYS_execveat,
#ifdef SYS_fork
    SYS_fork,
    SYS_vfork,
#endif
    /* other processes */
    SYS_kill,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_pidfd_send_signal,
    SYS_pidfd_getfd,
    SYS_process_madvise,
    SYS_kcmp,
    /* another user, more rights */
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_setfsuid,
    SYS_setfsgid,
    SYS_capset,
    SYS_personality,
#ifdef SYS_setuid32
    SYS_setuid32,
    SYS_setgid32,
    SYS_setreuid32,
    SYS_setregid32,
    SYS_setresuid32,
    SYS_setresgid32,
    SYS_setgroups32,
    SYS_setfsuid32,
    SYS_setfsgid32,
#endif
    /* files by name, in what landlock does not or not always look at */
    SYS_truncate,
    SYS_fchmodat,
    SYS_fchmodat2,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_setxattrat_,
    SYS_removexattrat_,
    SYS_file_setattr_,
    SYS_mknodat,
    SYS_open_by_handle_at,
#ifdef SYS_utimensat
    SYS_utimensat,
#endif
#ifdef SYS_chmod
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_mknod,
    SYS_creat,
#endif
#ifdef SYS_utime
    SYS_utime,
#endif
#ifdef SYS_utimes
    SYS_utimes,
    SYS_futimesat,
#endif
#ifdef SYS_truncate64
    SYS_truncate64,
#endif
#ifdef SYS_chown32
    SYS_chown32,
    SYS_lchown32,
#endif
#ifdef SYS_utimensat_time64
    SYS_utimensat_time64,
#endif
    /* the file system's tree */
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_open_tree_attr_,
    SYS_swapon,
    SYS_swapoff,
    SYS_quotactl,
    SYS_quotactl_fd,
    /* the kernel */
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_syslog,
    SYS_acct,
    SYS_fanotify_init,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
#endif
#ifdef SYS_uselib
    SYS_uselib,
#endif
    /* the machine's name and clock */
    SYS_sethostname,
    SYS_setdomainname,
    SYS_adjtimex,
    SYS_clock_adjtime,
#ifdef SYS_settimeofday_time32 /* musl's names on 32 bits */
    SYS_settimeofday_time32,
    SYS_clock_settime32,
#else
    SYS_settimeofday,
    SYS_clock_settime,
#endif
#ifdef SYS_clock_settime64
    SYS_clock_settime64,
    SYS_clock_adjtime64,
#endif
#ifdef SYS_stime
    SYS_stime,
#endif
    /* connections are taken from a socket that listens already */
    SYS_listen,
};

/* Likewise; a library that finds them missing does without. */
static const int missing[] = {
    SYS_clone3,		/* its flags cannot be looked at: clone(2) is used then */
    SYS_openat2,	/* likewise */
    SYS_io_uring_setup, /* would go round this filter */
    SYS_io_uring_enter, SYS_io_uring_register,
};

/* What ends an instrumented process' life well: the leak checker looks at it from another one. */
static const int looking_in[] = {SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/*
 * A call that is allowed or refused by one of its arguments, where that compares (BPF_JEQ,
 * BPF_JSET) to one of the values. Where there are several of a call, all of them must allow it.
 */
struct by_argument {
	int call;
	int argument;
	uint16_t compare;
	bool refused; /* where it does; else where it does not */
	int error;
	size_t count;
	uint32_t values[4];
};
#define BY_ARGUMENT_MOST ((size_t)15)

/* --- the program
 * -------------------------------------------------------------------------------------- */

/*
 * The kernel runs it over all calls there are when it is loaded, to know those that are always
 * allowed: searching by halves makes that, and so the start of a process, three times as quick as
 * one comparison after the other. Jumps only lead forward, so it is written from its end.
 */
#define PROGRAM_MOST 255 /* no jump is longer */
#define LEAF 4		 /* so many calls are compared one by one */
#define ENTRIES_MOST (COUNT(refused) + COUNT(missing) + COUNT(looking_in) + BY_ARGUMENT_MOST)

/* each entry, the halving of what leaves have at least, the values and the frame */
_Static_assert(ENTRIES_MOST + ENTRIES_MOST / (LEAF / 2) + 4 * BY_ARGUMENT_MOST < PROGRAM_MOST,
	       "too long a program for its jumps");

struct entry {
	uint32_t call;
	size_t target; /* where the program goes on for it */
};

struct program {
	struct sock_filter code[PROGRAM_MOST];
	size_t at; /* where it begins by now */
	size_t allow;
	struct entry entries[ENTRIES_MOST];
	size_t count;
};

/* Puts an instruction in front. Returns where it is. */
static size_t put(struct program *p, uint16_t code, uint32_t k)
{
	p->code[--p->at] = (struct sock_filter){.code = code, .k = k};
	return p->at;
}

static size_t put_jump(struct program *p, uint16_t compare, uint32_t k, size_t when_true,
		       size_t when_false)
{
	size_t at = put(p, (uint16_t)(BPF_JMP | BPF_K | compare), k);

	p->code[at].jt = (uint8_t)(when_true - at - 1);
	p->code[at].jf = (uint8_t)(when_false - at - 1);
	return at;
}

static size_t put_return(struct program *p, uint32_t what)
{
	return put(p, BPF_RET | BPF_K, what);
}

static size_t put_load(struct program *p, size_t offset)
{
	return put(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset);
}

static void add_entry(struct program *p, int call, size_t target)
{
	p->entries[p->count++] = (struct entry){.call = (uint32_t)call, .target = target};
}

static void add_refusals(struct program *p, const int *calls, size_t count, int error)
{
	size_t target = put_return(p, SECCOMP_RET_ERRNO | (uint32_t)error);

	for (size_t i = 0; i < count; i++)
		add_entry(p, calls[i], target);
}

static struct entry *find_entry(struct program *p, int call)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->entries[i].call == (uint32_t)call)
			return &p->entries[i];
	return NULL;
}

static void add_by_argument(struct program *p, const struct by_argument *by)
{
	struct entry *other = find_entry(p, by->call);
	size_t allow = other ? other->target : p->allow;
	size_t refuse = put_return(p, SECCOMP_RET_ERRNO | (uint32_t)by->error);
	size_t found = by->refused ? refuse : allow;
	size_t next = by->refused ? allow : refuse;

	for (size_t i = 0; i < by->count; i++)
		next = put_jump(p, by->compare, by->values[i], found, next);
	next = put_load(p, offsetof(struct seccomp_data, args) +
			       (size_t)by->argument * sizeof(uint64_t) + LOW_HALF);
	if (other)
		other->target = next;
	else
		add_entry(p, by->call, next);
}

static void add_all_by_argument(struct program *p)
{
	const uint32_t pid = (uint32_t)getpid();
	const struct by_argument rules[] = {
	    /* threads only, no processes */
	    {SYS_clone,
	     CLONE_FLAGS,
	     BPF_JSET,
	     false,
	     EPERM,
	     1,
	     {BLEY_INSTRUMENTED ? UINT32_MAX : CLONE_THREAD}},
	    /* how abort(3) ends this process */
	    {SYS_tgkill, 0, BPF_JEQ, false, EPERM, 1, {pid}},
	    {SYS_tkill, 0, BPF_JEQ, false, EPERM, 1, {pid}},
	    {SYS_prlimit64, 0, BPF_JEQ, false, EPERM, 2, {0, pid}},
	    /* before its ABI 3 landlock lets a file be emptied that may only be read */
	    {SYS_openat, 2, BPF_JSET, true, EPERM, 1, {O_TRUNC}},
#ifdef SYS_open
	    {SYS_open, 1, BPF_JSET, true, EPERM, 1, {O_TRUNC}},
#endif
	    {SYS_socket,
	     0,
	     BPF_JEQ,
	     false,
	     EAFNOSUPPORT,
	     4,
	     {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}},
	    /* landlock's ports are those of connect(2) and of TCP: MPTCP is another protocol, and
	     * the fast open of TCP connects without it */
	    {SYS_socket, 2, BPF_JEQ, false, EPROTONOSUPPORT, 3, {0, IPPROTO_TCP, IPPROTO_UDP}},
#ifdef SYS_socketcall
	    /* the C library's way to all of these on i386 and s390x; its arguments lie behind a
	     * pointer, where no filter looks */
	    {SYS_socketcall, 0, BPF_JEQ, true, EPERM, 1, {SYS_LISTEN}},
#endif
	    {SYS_sendto, 3, BPF_JSET, true, EPERM, 1, {MSG_FASTOPEN}},
	    {SYS_sendmsg, 2, BPF_JSET, true, EPERM, 1, {MSG_FASTOPEN}},
	    {SYS_sendmmsg, 3, BPF_JSET, true, EPERM, 1, {MSG_FASTOPEN}},
	    /* typing at the terminal that it was started from */
	    {SYS_ioctl, 1, BPF_JEQ, true, EPERM, 2, {TIOCSTI, TERMINAL_PASTE}},
	};

	_Static_assert(COUNT(rules) <= BY_ARGUMENT_MOST, "make room");
	for (size_t i = 0; i < COUNT(rules); i++)
		add_by_argument(p, &rules[i]);
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->call < y->call ? -1 : x->call > y->call;
}

/* Finds one of the sorted entries. Returns where that begins. */
static size_t put_search(struct program *p, const struct entry *entries, size_t count)
{
	size_t next = p->allow, above;

	if (count > LEAF) {
		above = put_search(p, entries + count / 2, count - count / 2);
		next = put_search(p, entries, count / 2);
		return put_jump(p, BPF_JGE, entries[count / 2].call, above, next);
	}
	while (count--)
		next = put_jump(p, BPF_JEQ, entries[count].call, entries[count].target, next);
	return next;
}

static void build(struct program *p)
{
	size_t refuse, next;

	p->at = PROGRAM_MOST;
	p->count = 0;
	p->allow = put_return(p, SECCOMP_RET_ALLOW);
	refuse = put_return(p, SECCOMP_RET_ERRNO | EPERM);
	add_refusals(p, refused, COUNT(refused), EPERM);
	add_refusals(p, missing, COUNT(missing), ENOSYS);
	if (!BLEY_INSTRUMENTED)
		add_refusals(p, looking_in, COUNT(looking_in), EPERM);
	add_all_by_argument(p);
	qsort(p->entries, p->count, sizeof(p->entries[0]), compare_entries);
	next = put_search(p, p->entries, p->count);
	put_jump(p, BPF_JGT, NUMBERS_MOST, refuse, next);
	next = put_load(p, offsetof(struct seccomp_data, nr));
	put_jump(p, BPF_JEQ, ARCH, next, refuse);
	put_load(p, offsetof(struct seccomp_data, arch));
}

bool seccomp_available(void)
{
	/* with no program it fails in either case, but only a kernel that can looks for it */
	return ARCH && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) && errno == EFAULT;
}

bool seccomp_enter(void)
{
	struct program program;
	struct sock_fprog filter;
	/* else some kernels would slow this process down to guard it against code of its own */
	unsigned flags = SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW;

	if (!ARCH) {
		errno = ENOSYS;
		return false;
	}
	build(&program);
	filter = (struct sock_fprog){.len = (unsigned short)(PROGRAM_MOST - program.at),
				     .filter = program.code + program.at};
	return !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) ||
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}
