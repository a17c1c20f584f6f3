// Package chart checks the Helm chart without a cluster.
package chart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/test/kube"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

const dir = "../../packaging/chart/lxcfs-nri"

var program string // helm

func TestMain(m *testing.M) {
	var err error
	if program, err = kube.Helm(context.Background(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// helm runs helm and gives what it prints.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	return string(out) + stderr.String(), err
}

// rendered is what the chart makes.
type rendered struct {
	daemonSet appsv1.DaemonSet
	configMap corev1.ConfigMap
	config    config.Config
}

// render makes the chart's objects. A field that the API does not have is an error,
// and so is a configuration that the daemon would refuse.
func render(t *testing.T, values ...string) rendered {
	t.Helper()
	args := []string{"template", "lxcfs-nri", dir, "-n", "lxcfs-nri"}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	out, err := helm(t, args...)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	var r rendered
	for doc := range strings.SplitSeq(out, "\n---\n") {
		var into any = &r.daemonSet
		if strings.Contains(doc, "kind: ConfigMap") {
			into = &r.configMap
		}
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
	}
	if r.daemonSet.Kind != "DaemonSet" || r.configMap.Kind != "ConfigMap" {
		t.Fatalf("there is no DaemonSet or no ConfigMap:\n%s", out)
	}
	file := path.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(r.configMap.Data["config.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	if r.config, err = config.Load(file, view.Paths()); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLint(t *testing.T) {
	if out, err := helm(t, "lint", "--strict", dir); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := helm(t, "template", dir, "--set", "mode=other"); err == nil || !strings.Contains(out, "write host, pod or uninstall") {
		t.Errorf("an unknown mode is taken: %v\n%s", err, out)
	}
}

// What holds in every mode: the daemon does not read what it serves, sees the
// node's processes, and comes before other pods.
func TestAllModes(t *testing.T) {
	for mode, command := range map[string]string{"host": "host install", "pod": "supervise", "uninstall": "host idle"} {
		t.Run(mode, func(t *testing.T) {
			r := render(t, "mode="+mode, "config.policy.namespaces.include={a,b*}", "image.tag=v9", "podLabels.x=y", "podAnnotations.x=y",
				"nodeSelector.disk=ssd", "imagePullSecrets[0].name=s")
			pod := r.daemonSet.Spec.Template
			spec := pod.Spec
			if pod.Annotations["lxcfs.nri.io/inject"] != "false" || pod.Annotations["x"] != "y" || pod.Labels["x"] != "y" {
				t.Errorf("got annotations %v, labels %v", pod.Annotations, pod.Labels)
			}
			if !spec.HostPID || spec.PriorityClassName != "system-node-critical" || spec.NodeSelector["disk"] != "ssd" ||
				len(spec.Tolerations) != 1 || spec.Tolerations[0].Operator != corev1.TolerationOpExists || len(spec.ImagePullSecrets) != 1 {
				t.Errorf("got the pod %+v", spec)
			}
			c := spec.Containers[0]
			if got := strings.Join(c.Args, " "); got != command || !*c.SecurityContext.Privileged || !strings.HasSuffix(c.Image, ":v9") {
				t.Errorf("got %s, %s, %+v", got, c.Image, c.SecurityContext)
			}
			if got := r.config.Policy.Namespaces.Include; len(got) != 2 || got[1] != "b*" {
				t.Errorf("the configuration includes %v", got)
			}
			if uninstalls := len(spec.InitContainers) == 1; uninstalls != (mode == "uninstall") {
				t.Errorf("got init containers %+v", spec.InitContainers)
			}
		})
	}
}

// A new configuration makes new pods.
func TestConfigurationRolls(t *testing.T) {
	sum := func(values ...string) string {
		return render(t, values...).daemonSet.Spec.Template.Annotations["checksum/config"]
	}
	if before, after := sum(), sum("config.swap=false"); before == after {
		t.Error("pods stay with another configuration")
	}
	if before, after := sum(), sum("image.tag=v9"); before != after {
		t.Error("it does not only go with the configuration")
	}
}

// In mode pod the daemon has its folders, under the paths that its configuration
// names, and its mounts get to the node.
func TestPodFolders(t *testing.T) {
	for _, c := range []struct {
		values        []string
		fs, run, nri  string
		wantAttaching bool
	}{
		{nil, "/var/lib/lxcfs-nri", "/run/lxcfs-nri", "/var/run/nri", true},
		{
			[]string{"config.mountpoint=/srv/a/b", "config.runDir=/run/x", "config.nri.socket=/run/other/nri.sock", "config.attachExisting=false"},
			"/srv/a", "/run/x", "/run/other", false,
		},
		{[]string{"config.nri.socket=none"}, "/var/lib/lxcfs-nri", "/run/lxcfs-nri", "", true},
	} {
		r := render(t, append(c.values, "mode=pod")...)
		paths := map[string]string{}
		for _, v := range r.daemonSet.Spec.Template.Spec.Volumes {
			if v.HostPath != nil {
				paths[v.Name] = v.HostPath.Path
			}
		}
		for _, m := range r.daemonSet.Spec.Template.Spec.Containers[0].VolumeMounts {
			if from, ok := paths[m.Name]; ok && from != m.MountPath {
				t.Errorf("%s of the node is %s in the pod", from, m.MountPath)
			}
			if shared := m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationBidirectional; shared != (m.Name == "fs") {
				t.Errorf("%s: got propagation %v", m.Name, m.MountPropagation)
			}
		}
		if paths["fs"] != c.fs || paths["run"] != c.run || paths["nri"] != c.nri {
			t.Errorf("%v: got folders %v", c.values, paths)
		}
		if path.Dir(r.config.Mountpoint) != c.fs || r.config.RunDir != c.run || r.config.AttachExisting != c.wantAttaching {
			t.Errorf("%v: got configuration %+v", c.values, r.config)
		}
	}
}
