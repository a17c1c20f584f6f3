package k8s

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// perStep is how long anything may take, far more than it needs.
const perStep = 4 * time.Minute

const (
	release = "lxcfs-nri"
	chart   = "../../packaging/chart/lxcfs-nri"
)

// kubectl runs kubectl, which must not fail.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := setup.cluster.kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apply applies a manifest.
func apply(t *testing.T, manifest string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "-f", file)
}

// namespace makes a namespace, and removes it with what is in it.
func namespace(t *testing.T) string {
	t.Helper()
	name := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	kubectl(t, "create", "namespace", name)
	t.Cleanup(func() {
		if t.Failed() {
			what, _ := setup.cluster.kubectl(context.Background(), "-n", name, "get", "pods,events", "-o", "wide")
			t.Log(what)
		}
		if _, err := setup.cluster.kubectl(context.Background(), "delete", "namespace", name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	return name
}

func helm(args ...string) (string, error) {
	return output(exec.Command(filepath.Join(setup.dir, helmProgram), args...))
}

// deploy installs the chart, or upgrades it, and waits until its pods are ready.
func deploy(t *testing.T, values ...string) {
	t.Helper()
	args := []string{
		"upgrade", "--install", release, chart, "-n", release, "--create-namespace", "--wait", "--timeout", perStep.String(),
		"--set", "image.repository=" + repository, "--set", "image.pullPolicy=Never",
	}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	if _, err := helm(args...); err != nil {
		t.Fatalf("%v\n%s", err, chartLogs())
	}
	// Helm waits until enough pods are ready, and one may always be missing.
	kubectl(t, "-n", release, "rollout", "status", "daemonset/"+release, "--timeout="+perStep.String())
}

// undeploy removes the release, and waits until its pods are gone.
func undeploy(t *testing.T) {
	t.Helper()
	if _, err := helm("uninstall", release, "-n", release, "--ignore-not-found", "--wait", "--timeout", perStep.String()); err != nil {
		t.Error(err)
	}
	err := rig.Poll(context.Background(), perStep, func() error {
		out, err := setup.cluster.kubectl(context.Background(), "-n", release, "get", "pods", "-o", "name")
		if err == nil && out != "" {
			err = errors.New("still there: " + out)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func chartLogs() string {
	out, _ := setup.cluster.kubectl(context.Background(), "-n", release, "logs", "--all-containers", "--prefix", "-l", "app.kubernetes.io/name=lxcfs-nri")
	what, _ := setup.cluster.kubectl(context.Background(), "-n", release, "describe", "pods")
	daemon, err := os.ReadFile("/var/log/lxcfs-nri.log")
	if err != nil {
		daemon = []byte(err.Error())
	}
	return strings.Join([]string{out, what, string(daemon)}, "\n----\n")
}

// showLogs has the chart's logs shown if the test fails.
func showLogs(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(chartLogs())
		}
	})
}

// pod is a manifest: what is given is put into its spec.
func pod(namespace, name, annotations, spec string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
  namespace: %s
  annotations: {%s}
spec:
  terminationGracePeriodSeconds: 0
%s`, name, namespace, annotations, spec)
}

// one is a container with limits, of the image with programs.
const one = `
  containers:
    - name: one
      image: ` + rig.ImageTools + `
      imagePullPolicy: Never
      resources: {limits: {memory: 256Mi, cpu: 500m}}
`

// run makes a pod and waits until it runs.
func run(t *testing.T, namespace, name, annotations, spec string) {
	t.Helper()
	apply(t, pod(namespace, name, annotations, spec))
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/"+name, "--timeout="+perStep.String())
}

// exe runs a command in a pod, perhaps in a certain container ("-c", name).
func exe(t *testing.T, namespace, pod string, args ...string) string {
	t.Helper()
	return kubectl(t, append([]string{"-n", namespace, "exec", pod}, args...)...)
}

// total is the memory that free -m shows.
func total(t *testing.T, namespace, pod string, container ...string) int {
	t.Helper()
	n, err := freeTotal(t.Context(), namespace, pod, container...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func freeTotal(ctx context.Context, namespace, pod string, container ...string) (int, error) {
	out, err := setup.cluster.kubectl(ctx, append(append([]string{"-n", namespace, "exec", pod}, container...), "--", "free", "-m")...)
	if err != nil {
		return 0, err
	}
	_, mem, _ := strings.Cut(out, "Mem:")
	f := strings.Fields(mem)
	if len(f) == 0 {
		return 0, errors.New("free shows no memory: " + out)
	}
	return strconv.Atoi(f[0])
}

// eventually waits until something holds.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	if err := rig.Poll(t.Context(), perStep, f); err != nil {
		t.Fatal(err)
	}
}

// hostTotal is the machine's memory in MiB, as free -m shows it.
func hostTotal(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return n / 1024
}

// reading reads in a container until it is stopped, each time a whole file, and
// counts what was not as it must be. What it shows must not change.
const reading = `
n=0 bad=0
while :; do
	if text=$(cat /proc/meminfo) && uptime=$(cat /proc/uptime) && [ -n "$uptime" ]; then
		case $text in "MemTotal:         262144 kB"*DirectMap*|"MemTotal:         262144 kB"*Hugepagesize*) n=$((n + 1)) ;; *) bad=$((bad + 1)) ;; esac
	else
		bad=$((bad + 1))
	fi
	echo "$n $bad ." >/tmp/count
done
`

// readerSpec is that container, reading.
func readerSpec() string {
	return strings.Replace(one, "      resources:", "      command: [sh, -c, "+strconv.Quote(reading)+"]\n      resources:", 1)
}

// counts are the texts that the pod reader has read, and those that were bad or failed.
func counts(t *testing.T, namespace string) (n, bad int) {
	t.Helper()
	eventually(t, func() error {
		out := exe(t, namespace, "reader", "--", "cat", "/tmp/count")
		// The reader may just be writing.
		if _, err := fmt.Sscanf(out, "%d %d .", &n, &bad); err != nil {
			return fmt.Errorf("%q: %w", out, err)
		}
		return nil
	})
	return n, bad
}

// flawless waits until the pod reader has gone on, and fails if a read has not been
// right.
func flawless(t *testing.T, namespace string) {
	t.Helper()
	before, _ := counts(t, namespace)
	var n, bad int
	eventually(t, func() error {
		if n, bad = counts(t, namespace); n < before+20 && bad == 0 {
			return fmt.Errorf("only %d texts were read since", n-before)
		}
		return nil
	})
	t.Logf("%d texts, %d of them bad", n, bad)
	if bad > 0 {
		t.Errorf("%d of %d reads were not right", bad, n+bad)
	}
}

// kubectlLater runs kubectl in a cleanup, when the test's context has ended.
func kubectlLater(t *testing.T, args ...string) {
	t.Helper()
	if _, err := setup.cluster.kubectl(context.Background(), args...); err != nil {
		t.Error(err)
	}
}
