package e2e

import (
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// TestPolicy checks who gets the files and who does not, by default and by
// annotation.
func TestPolicy(t *testing.T) {
	const key, prefix = "lxcfs.nri.io/inject", "inject.lxcfs.nri.io/"
	for _, tt := range []struct {
		name      string
		pod       rig.PodOptions
		container rig.ContainerOptions
		want      bool
	}{
		{name: "default", want: true},
		{name: "another namespace", pod: rig.PodOptions{Namespace: "shop"}, want: true},
		{name: "kube-system", pod: rig.PodOptions{Namespace: "kube-system"}},
		{name: "host PID", pod: rig.PodOptions{HostPID: true}},
		{name: "pod opts out", pod: annotated(key, "false")},
		{name: "pod opts out, long", pod: annotated(key+"/pod", "false")},
		{name: "pod opts out, as Kubernetes takes it", pod: annotated(prefix+"pod", "false")},
		{name: "container opts out", pod: annotated(key+"/container.main", "false")},
		{name: "container opts out, as Kubernetes takes it", pod: annotated(prefix+"container.main", "false")},
		{name: "container opts out by itself", container: rig.ContainerOptions{Annotations: map[string]string{key: "false"}}},
		{name: "another container opts out", pod: annotated(key+"/container.other", "false"), want: true},
		{name: "container opts in, pod out", pod: rig.PodOptions{Annotations: map[string]string{key: "false", key + "/container.main": "true"}}, want: true},
		{name: "former webhook", pod: annotated("lxcfs-admission-webhook.aliyun.com/mutate", "off")},
		{name: "another former webhook", pod: annotated("mutating.lxcfs-admission-webhook.io/enable", "false")},
		{name: "kube-system opts in", pod: rig.PodOptions{Namespace: "kube-system", Annotations: map[string]string{key: "true"}}, want: true},
		{name: "nonsense", pod: annotated(key, "perhaps"), want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := begin(t)
			tt.container.Limits = half
			c := start(ctx, t, runPod(ctx, t, tt.pod), tt.container)
			if !tt.want {
				untouched(ctx, t, c)
				return
			}
			injected(ctx, t, c)
			sees(ctx, t, c, half.Memory, 1)
		})
	}
}

func annotated(key, value string) rig.PodOptions {
	return rig.PodOptions{Annotations: map[string]string{key: value}}
}

// TestPolicyPerContainer has two containers in a pod, one of which opts out.
func TestPolicyPerContainer(t *testing.T) {
	ctx := begin(t)
	p := runPod(ctx, t, annotated("inject.lxcfs.nri.io/container.out", "false"))
	injected(ctx, t, start(ctx, t, p, rig.ContainerOptions{Name: "in", Limits: half}))
	untouched(ctx, t, start(ctx, t, p, rig.ContainerOptions{Name: "out", Limits: half}))
}
