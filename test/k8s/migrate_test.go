package k8s

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/lxcfs"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// countsDir is where readers of a Deployment count, each in a file by its pod's
// name, which outlives the pod.
const countsDir = "/var/lib/counts"

// webhooked are the files that the webhooks mount.
var webhooked = []string{"cpuinfo", "meminfo", "diskstats", "stat", "swaps", "uptime", "loadavg"}

// TestMigration does what docs/migrating.md says, with Debian's lxcfs and a
// Deployment as the webhook makes its pods, whose containers read all the time.
func TestMigration(t *testing.T) {
	lx, err := lxcfs.Start(t.Context(), "/var/lib", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	running := true
	stop := func() {
		if running {
			running = false
			if err := lx.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	ns := namespace(t)
	apply(t, readers(ns, true))
	rollout(t, ns)
	hasFiles(t, ns, "fuse.lxcfs")

	t.Log("lxcfs-nri is installed, and pods have lxcfs's files still, new ones, too")
	deployHost(t)
	hasFiles(t, ns, "fuse.lxcfs")
	kubectl(t, "-n", ns, "rollout", "restart", "deployment/web")
	rollout(t, ns)
	hasFiles(t, ns, "fuse.lxcfs")

	t.Log("the webhook is gone, and pods are created anew")
	apply(t, readers(ns, false))
	rollout(t, ns)
	hasFiles(t, ns, "fuse.lxcfs-nri")

	t.Log("back")
	kubectl(t, "-n", ns, "rollout", "undo", "deployment/web")
	rollout(t, ns)
	hasFiles(t, ns, "fuse.lxcfs")

	t.Log("and for good")
	kubectl(t, "-n", ns, "rollout", "undo", "deployment/web")
	rollout(t, ns)
	hasFiles(t, ns, "fuse.lxcfs-nri")
	stop()
	pod := hasFiles(t, ns, "fuse.lxcfs-nri")
	before, _ := counted(t, pod)
	eventually(t, func() error {
		if n, bad := counted(t, pod); n < before+20 && bad == 0 {
			return errors.New("it reads no more")
		}
		return nil
	})

	pods, err := os.ReadDir(countsDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(pods) < 5 {
		t.Errorf("only %d pods have read", len(pods))
	}
	for _, pod := range pods {
		n, bad := counted(t, pod.Name())
		t.Logf("%s: %d texts, %d of them bad", pod.Name(), n, bad)
		if bad > 0 || n == 0 {
			t.Errorf("%d of %d reads in %s were not right", bad, n+bad, pod.Name())
		}
	}
}

// readers is a Deployment that reads, with the webhook's mounts or without.
func readers(namespace string, withMounts bool) string {
	type object = map[string]any
	volumes := []object{{"name": "counts", "hostPath": object{"path": countsDir, "type": "DirectoryOrCreate"}}}
	mounts := []object{{"name": "counts", "mountPath": "/counts"}}
	if withMounts {
		for _, file := range webhooked {
			volumes = append(volumes, object{"name": "lxcfs-proc-" + file, "hostPath": object{"path": "/var/lib/lxcfs/proc/" + file}})
			mounts = append(mounts, object{"name": "lxcfs-proc-" + file, "mountPath": "/proc/" + file})
		}
	}
	labels := object{"app": "web"}
	b, err := json.Marshal(object{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": object{"name": "web", "namespace": namespace},
		"spec": object{
			"selector": object{"matchLabels": labels},
			"strategy": object{"rollingUpdate": object{"maxUnavailable": 0, "maxSurge": 1}},
			"template": object{
				"metadata": object{"labels": labels},
				"spec": object{
					"terminationGracePeriodSeconds": 1,
					"volumes":                       volumes,
					"containers": []object{{
						"name": "web", "image": rig.ImageTools, "imagePullPolicy": "Never", "volumeMounts": mounts,
						"command":   []string{"sh", "-c", strings.ReplaceAll(reading, "/tmp/count", "/counts/$HOSTNAME")},
						"env":       []object{{"name": "HOSTNAME", "valueFrom": object{"fieldRef": object{"fieldPath": "metadata.name"}}}},
						"resources": object{"limits": object{"memory": "256Mi", "cpu": "500m"}},
					}},
				},
			},
		},
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(b)
}

// rollout waits until all pods of the Deployment are those of its last change.
func rollout(t *testing.T, namespace string) {
	t.Helper()
	kubectl(t, "-n", namespace, "rollout", "status", "deployment/web", "--timeout="+perStep.String())
	eventually(t, func() error {
		if pods := strings.Fields(kubectl(t, "-n", namespace, "get", "pods", "-o", "name")); len(pods) != 1 {
			return fmt.Errorf("there are %v", pods)
		}
		return nil
	})
}

// hasFiles checks whose /proc/meminfo the pod of the Deployment has, and gives the
// pod's name.
func hasFiles(t *testing.T, namespace, fsType string) (pod string) {
	t.Helper()
	table := exe(t, namespace, "deploy/web", "--", "cat", "/proc/self/mountinfo")
	got := ""
	for line := range strings.Lines(table) {
		left, right, _ := strings.Cut(line, " - ")
		if f := strings.Fields(left); f[4] == "/proc/meminfo" {
			got += strings.Fields(right)[0]
		}
	}
	if got != fsType {
		t.Errorf("/proc/meminfo is of %q, want %q", got, fsType)
	}
	if got := total(t, namespace, "deploy/web"); got != 256 {
		t.Errorf("free -m shows %d, want 256", got)
	}
	name := kubectl(t, "-n", namespace, "get", "pods", "-o", "name")
	return strings.TrimPrefix(name, "pod/")
}

// counted is what a reader has counted.
func counted(t *testing.T, pod string) (n, bad int) {
	t.Helper()
	eventually(t, func() error {
		b, err := os.ReadFile(filepath.Join(countsDir, pod))
		if err != nil {
			return err
		}
		f := strings.Fields(string(b))
		if len(f) != 3 {
			return fmt.Errorf("%s has counted %q", pod, b)
		}
		n, err = strconv.Atoi(f[0])
		if err != nil {
			return err
		}
		bad, err = strconv.Atoi(f[1])
		return err
	})
	return n, bad
}
