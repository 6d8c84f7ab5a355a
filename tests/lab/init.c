// SPDX-License-Identifier: MIT
/*
 * The first process of a guest: mounts the host's files, to which changes stay in the guest, runs one
 * command and passes its exit status to QEMU.
 *
 *	init SECONDS RESULTS COMMAND...
 *
 * The kernel's log goes to the first serial port, the second is the command's terminal. /run/lab is the
 * host's folder RESULTS, where changes persist. After SECONDS the guest ends, even if it hangs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define DEBUG_EXIT_PORT	0xf4
#define LEAST		16	/* QEMU itself ends with small numbers */
#define FAILED		100
#define TIMED_OUT	101

/* isa-debug-exit: QEMU's status becomes 2 * code + 1. */
static void power_off(int status)
{
	sync();
	if (!ioperm(DEBUG_EXIT_PORT, 4, 1))
		outl(LEAST + status, DEBUG_EXIT_PORT);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void die(const char *what)
{
	printf("init: %s: %s\n", what, strerror(errno));
	power_off(FAILED);
}

/* Write the stacks of all processors and of blocked tasks to the kernel's log. */
static void expire(int signal)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY);

	(void)signal;
	for (const char *key = "lw"; fd >= 0 && *key; key++)
		if (write(fd, key, 1) < 0)
			break;
	sleep(5);
	power_off(TIMED_OUT);
}

/* The names of modules in the initramfs sort in the order of loading. */
static void load_modules(void)
{
	glob_t found;

	if (glob("/modules/*", 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		int fd = open(found.gl_pathv[i], O_RDONLY | O_CLOEXEC);

		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			die(found.gl_pathv[i]);
		close(fd);
	}
	globfree(&found);
}

static void attach(const char *from, const char *to, const char *type, unsigned long flags, const char *options)
{
	mkdir(to, 0755);
	if (mount(from, to, type, flags, options))
		die(to);
}

/* An overlay of a tmpfs on the host's files; also in /tmp, which may hold the checkout. */
static void mount_root(const char *results)
{
	char path[4096];

	snprintf(path, sizeof(path), "/host/%s", results);
	attach("host", "/host", "virtiofs", 0, NULL);
	attach("tmpfs", "/own", "tmpfs", 0, "size=75%");
	mkdir("/own/upper", 0755);
	mkdir("/own/work", 0755);
	attach("overlay", "/root", "overlay", 0, "lowerdir=/host,upperdir=/own/upper,workdir=/own/work");
	if (chdir("/root"))
		die("/root");
	attach("proc", "proc", "proc", 0, NULL);
	attach("sysfs", "sys", "sysfs", 0, NULL);
	attach("devtmpfs", "dev", "devtmpfs", 0, NULL);
	if (symlink("/proc/self/fd", "dev/fd"))	/* for <() of bash */
		die("dev/fd");
	attach("devpts", "dev/pts", "devpts", 0, NULL);
	attach("tmpfs", "dev/shm", "tmpfs", 0, NULL);
	attach("tmpfs", "run", "tmpfs", 0, NULL);
	attach(path, "run/lab", NULL, MS_BIND, NULL);
	mount("debugfs", "sys/kernel/debug", "debugfs", 0, NULL);
	mount("tracefs", "sys/kernel/tracing", "tracefs", 0, NULL);
	if (mount(".", "/", NULL, MS_MOVE, NULL) || chroot("."))
		die("chroot");
}

static void take_terminal(void)
{
	struct termios settings;
	int fd = open("/dev/ttyS1", O_RDWR);

	if (fd < 0 || tcgetattr(fd, &settings))
		die("/dev/ttyS1");
	cfmakeraw(&settings);
	cfsetspeed(&settings, B115200);
	settings.c_lflag |= ISIG;
	tcsetattr(fd, TCSANOW, &settings);
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

int main(int argc, char **argv)
{
	int status = 0;
	pid_t child, ended;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc < 4)
		return FAILED;
	signal(SIGALRM, expire);
	alarm(atoi(argv[1]));
	load_modules();
	mount_root(argv[2]);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		setsid();
		take_terminal();
		ioctl(0, TIOCSCTTY, 0);
		execvp(argv[3], argv + 3);
		die(argv[3]);
	}
	do
		ended = wait(&status);
	while (ended != child && (ended >= 0 || errno == EINTR));
	power_off(WIFEXITED(status) ? WEXITSTATUS(status) % FAILED : FAILED);
}
