// Allocates and frees on every CPU that the process may use, for an allocator
// that keeps memory per CPU.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// mallctl is jemalloc's.
int mallctl(const char *, void *, size_t *, void *, size_t) __attribute__((weak));

int main(void)
{
	cpu_set_t may;
	const char *percpu;
	size_t size = sizeof percpu;
	enum { n = 512 };
	static char *kept[n];

	if (!mallctl || mallctl("opt.percpu_arena", &percpu, &size, NULL, 0))
		return fprintf(stderr, "no jemalloc\n"), 1;
	sched_getaffinity(0, sizeof may, &may);
	for (int round = 0; round < 8; round++)
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			cpu_set_t one;
			if (!CPU_ISSET(cpu, &may))
				continue;
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof one, &one);
			for (int i = 0; i < n; i++) {
				size_t size = 16 << i % 12;
				free(kept[i]);
				kept[i] = malloc(size);
				memset(kept[i], 1, size);
			}
		}
	printf("percpu_arena %s\n", percpu);
	return 0;
}
