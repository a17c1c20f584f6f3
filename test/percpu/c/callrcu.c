// Queues a callback on every CPU that the process may use, with a helper thread
// of liburcu for each CPU that is configured.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <urcu.h>

static int called;

static void count(struct rcu_head *head)
{
	__atomic_add_fetch(&called, 1, __ATOMIC_RELAXED);
	free(head);
}

int main(void)
{
	cpu_set_t may;
	int queued = 0;

	sched_getaffinity(0, sizeof may, &may);
	rcu_register_thread();
	if (create_all_cpu_call_rcu_data(0))
		return perror("create_all_cpu_call_rcu_data"), 1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		cpu_set_t one;
		if (!CPU_ISSET(cpu, &may))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof one, &one);
		if (!get_cpu_call_rcu_data(sched_getcpu()))
			return fprintf(stderr, "no helper for CPU %d\n", sched_getcpu()), 1;
		call_rcu(malloc(sizeof(struct rcu_head)), count);
		queued++;
	}
	rcu_barrier();
	printf("queued %d called %d\n", queued, called);
	free_all_cpu_call_rcu_data();
	rcu_unregister_thread();
	return queued != called;
}
