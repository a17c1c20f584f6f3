// For each line of standard input, a number: that many forced migrations over the
// CPUs that the process may use, and one line of what was found. Arrays would have
// been sized at the start: "configured", "online" and "directories" are of then.
#define _GNU_SOURCE
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <sys/rseq.h>

// rseq_cpu is the number that the kernel keeps in this thread's memory.
static int rseq_cpu(void)
{
	const char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
	return __rseq_size ? (int)((volatile const struct rseq *)area)->cpu_id : -1;
}
#else
static int rseq_cpu(void) { return -1; }
#endif

// directories is _SC_NPROCESSORS_CONF of glibc before 2.35.
static int directories(void)
{
	int n = 0;
	struct dirent *e;
	DIR *d = opendir("/sys/devices/system/cpu");
	while (d && (e = readdir(d))) {
		char *end, *number = e->d_name + 3;
		if (e->d_type != DT_DIR || strncmp(e->d_name, "cpu", 3))
			continue;
		strtoul(number, &end, 10);
		n += end != number && !*end;
	}
	return n;
}

int main(void)
{
	cpu_set_t all, may;
	long configured = sysconf(_SC_NPROCESSORS_CONF), online = sysconf(_SC_NPROCESSORS_ONLN);
	int n, dirs = directories();

	memset(&all, 0xff, sizeof all);
	while (scanf("%d", &n) == 1) {
		int highest = -1, by_rseq = -1, moves = 0;
		// The kernel takes away what the cpuset does not have.
		if (sched_setaffinity(0, sizeof all, &all) || sched_getaffinity(0, sizeof may, &may))
			return perror("affinity"), 1;
		for (int cpu = 0; moves < n; cpu = (cpu + 1) % CPU_SETSIZE) {
			cpu_set_t one;
			if (!CPU_ISSET(cpu, &may))
				continue;
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			moves++;
			sched_setaffinity(0, sizeof one, &one); // fails if the cpuset was changed meanwhile
			int at = sched_getcpu(), rseq = rseq_cpu();
			highest = at > highest ? at : highest;
			by_rseq = rseq > by_rseq ? rseq : by_rseq;
		}
		sched_setaffinity(0, sizeof all, &all);
		printf("configured %ld online %ld directories %d may %d highest %d rseq %d\n",
		       configured, online, dirs, CPU_COUNT(&may), highest, by_rseq);
		fflush(stdout);
	}
	return 0;
}
