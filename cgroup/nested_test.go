package cgroup

import (
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestPathsOfNestedRuntimes: the path that a runtime names begins where its own
// node, a container, does; systemd's names are what it makes of them.
func TestPathsOfNestedRuntimes(t *testing.T) {
	const inner = "0e5b7c9d1f3a2b4c6d8e0f1a3b5c7d9e2f4a6b8c0d1e3f5a7b9c2d4e6f8a0b1c"
	for name, spec := range map[string]string{
		"v1-kind":             "/kubelet/kubepods/burstable/pod2f1d9c36-6a57-4c0e-9b7a-0d5e8c4f1b23/ctr",
		"v2-kind":             "kubelet-kubepods-burstable-pod2f1d9c36_6a57_4c0e_9b7a_0d5e8c4f1b23.slice:cri-containerd:" + inner,
		"v1-systemd":          "kubepods-burstable-pod2f1d9c36_6a57_4c0e_9b7a_0d5e8c4f1b23.slice:cri-containerd:" + inner,
		"v1-docker-in-docker": "/docker/" + inner,
		"v2-docker-in-docker": "/docker/" + inner,
		"v1-odd-names":        `/my apps: web/pod 1:2:3/ctr:a  b \040`,
		"v2-odd-names":        `/my apps: web/pod 1:2:3/ctr:a  b \040`,
	} {
		c := fixture.Load(t, "testdata/"+name+".txtar")
		fs, err := Open(c.Root)
		if err != nil {
			t.Fatal(err)
		}
		alone, err := groupOf(fs, c.PID, "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		told, err := groupOf(fs, c.PID, spec)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if told.Path() != alone.Path() || told.Gone() {
			t.Errorf("%s: with the spec's path %q, by its process %q, want the same", name, told.Path(), alone.Path())
		}
		at, err := SpecPath(spec)
		if err != nil || !strings.HasSuffix(told.Path(), at) {
			t.Errorf("%s: %q (%v) is not the end of %q", name, at, err, told.Path())
		}
		// What an init makes below its group is not the container's group.
		below := Paths{Unified: alone.Path() + "/system.slice/a.service"}
		if got := below.container(at).Unified; got != told.Path() {
			t.Errorf("%s: a service of the container is in %q, want %q", name, got, told.Path())
		}
	}
}
