package k8s

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

const web = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: NAMESPACE
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: ` + rig.ImageTools + `
          imagePullPolicy: Never
          resources: {limits: {memory: 256Mi, cpu: 500m}}
`

// TestContainers is about what containers see, and which.
func TestContainers(t *testing.T) {
	deployHost(t)
	t.Run("web", func(t *testing.T) {
		ns := namespace(t)
		apply(t, strings.Replace(web, "NAMESPACE", ns, 1))
		kubectl(t, "-n", ns, "rollout", "status", "deployment/web", "--timeout="+perStep.String())
		if got := total(t, ns, "deploy/web"); got != 256 {
			t.Errorf("free -m shows %d, want 256", got)
		}
		if got := exe(t, ns, "deploy/web", "--", "grep", "-c", "^processor", "/proc/cpuinfo"); got != "1" {
			t.Errorf("/proc/cpuinfo has %s CPUs, want 1", got)
		}
		t.Logf("kubectl exec deploy/web -- free -m\n%s", exe(t, ns, "deploy/web", "--", "free", "-m"))
	})
	t.Run("optout", func(t *testing.T) {
		ns := namespace(t)
		run(t, ns, "out", `lxcfs.nri.io/inject: "false"`, one)
		if got, want := total(t, ns, "out"), hostTotal(t); got != want {
			t.Errorf("a pod that opted out has %d MiB, want the machine's %d", got, want)
		}
		run(t, ns, "former", `mutating.lxcfs-admission-webhook.io/enable: "false"`, one)
		if got, want := total(t, ns, "former"), hostTotal(t); got != want {
			t.Errorf("a pod that opted out of the webhook has %d MiB, want the machine's %d", got, want)
		}
	})
	t.Run("system", func(t *testing.T) {
		run(t, "kube-system", "addon", "", one)
		t.Cleanup(func() { kubectlLater(t, "-n", "kube-system", "delete", "pod", "addon") })
		if got, want := total(t, "kube-system", "addon"), hostTotal(t); got != want {
			t.Errorf("a pod of kube-system has %d MiB, want the machine's %d", got, want)
		}
	})
	t.Run("resize", func(t *testing.T) {
		ns := namespace(t)
		run(t, ns, "web", "", one)
		for _, mib := range []int{256, 512, 192} {
			kubectl(t, "-n", ns, "patch", "pod", "web", "--subresource=resize", "--patch",
				fmt.Sprintf(`{"spec": {"containers": [{"name": "one", "resources": {"requests": {"memory": "%[1]dMi"}, "limits": {"memory": "%[1]dMi"}}}]}}`, mib))
			eventually(t, func() error {
				if got := total(t, ns, "web"); got != mib {
					return fmt.Errorf("free -m shows %d, want %d", got, mib)
				}
				return nil
			})
		}
	})
	t.Run("podlevel", func(t *testing.T) {
		ns := namespace(t)
		run(t, ns, "web", "", `
  resources: {limits: {memory: 300Mi, cpu: "1"}}
  containers:
    - {name: a, image: "`+rig.ImageTools+`", imagePullPolicy: Never}
    - {name: b, image: "`+rig.ImageTools+`", imagePullPolicy: Never, resources: {limits: {memory: 100Mi}}}
`)
		for container, want := range map[string]int{"a": 300, "b": 100} {
			if got := total(t, ns, "web", "-c", container); got != want {
				t.Errorf("container %s: free -m shows %d, want %d", container, got, want)
			}
		}
	})
	t.Run("init", func(t *testing.T) {
		ns := namespace(t)
		run(t, ns, "web", "", `
  initContainers:
    - {name: first, image: "`+rig.ImageTools+`", imagePullPolicy: Never, command: [free, -m], resources: {limits: {memory: 64Mi}}}
    - {name: sidecar, image: "`+rig.ImageTools+`", imagePullPolicy: Never, restartPolicy: Always, resources: {limits: {memory: 96Mi}}}
`+strings.TrimPrefix(one, "\n"))
		if out := kubectl(t, "-n", ns, "logs", "web", "-c", "first"); len(strings.Fields(out)) < 8 || strings.Fields(out)[7] != "64" {
			t.Errorf("an init container of 64 MiB sees\n%s", out)
		}
		for container, want := range map[string]int{"sidecar": 96, "one": 256} {
			if got := total(t, ns, "web", "-c", container); got != want {
				t.Errorf("container %s: free -m shows %d, want %d", container, got, want)
			}
		}
	})
	t.Run("restarts", func(t *testing.T) {
		ns := namespace(t)
		run(t, ns, "reader", "", readerSpec())
		if err := setup.cluster.kubelet.stop(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := setup.cluster.kubelet.start(); err != nil {
			t.Fatal(err)
		}
		answers := func() error {
			_, err := freeTotal(t.Context(), ns, "reader")
			return err
		}
		eventually(t, answers) // a kubelet that finds no runtime at its start ends
		if err := setup.rig.StopContainerd(); err != nil {
			t.Fatal(err)
		}
		if err := setup.rig.StartContainerd(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, answers)
		flawless(t, ns)
		// The plugin has found the runtime again.
		eventually(t, func() error {
			out := mustOutput(t, "/usr/bin/lxcfs-nri", "status")
			if !strings.Contains(out, "connected") || strings.Contains(out, "not connected") {
				return fmt.Errorf("no runtime is connected:\n%s", out)
			}
			return nil
		})
		run(t, ns, "later", "", one)
		if got := total(t, ns, "later"); got != 256 {
			t.Errorf("a pod after the restarts has %d MiB, want 256", got)
		}
	})
}
