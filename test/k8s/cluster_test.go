package k8s

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// cluster is one node's worth of Kubernetes.
type cluster struct {
	dir string // of its state
	bin string
	// kubelet is apart: it is restarted.
	kubelet *daemon
}

// daemon is a program that runs until the node ends, or it is stopped.
type daemon struct {
	path string
	args []string
	log  string
	cmd  *exec.Cmd
}

func (d *daemon) start() error {
	f, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	d.cmd = exec.Command(d.path, d.args...)
	d.cmd.Stdout, d.cmd.Stderr = f, f
	d.cmd.Dir = filepath.Dir(d.log)
	d.cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	return d.cmd.Start()
}

func (d *daemon) stop(sig syscall.Signal) error {
	if err := d.cmd.Process.Signal(sig); err != nil {
		return err
	}
	d.cmd.Wait() //nolint:errcheck // ended by a signal
	return nil
}

// The API server knows who asks by these. It listens on the node only.
const tokens = `admin,admin,1,system:masters
node,system:node:node1,2,system:nodes
`

// files are what the programs read; $W is the folder they are in, $G the cgroup for
// all pods, $C the runtime's socket, $B the folder of the plugins.
var files = map[string]string{
	"tokens.csv":       tokens,
	"admin.kubeconfig": kubeconfig("admin"),
	"node.kubeconfig":  kubeconfig("node"),
	"kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
containerRuntimeEndpoint: unix://$C
cgroupDriver: cgroupfs
cgroupRoot: /$G
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
enforceNodeAllocatable: [pods]
localStorageCapacityIsolation: false
failSwapOn: false
oomScoreAdj: 0
syncFrequency: 5s
`,
}

func kubeconfig(token string) string {
	return `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: ` + token + `}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`
}

const network = `{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local",
	"ranges": [[{"subnet": "10.99.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "$W/ipam"}}]}
`

// up starts Kubernetes beside a containerd, and waits until the node is ready.
func up(ctx context.Context, r *rig.Rig, dir, groupName string) (*cluster, error) {
	c := &cluster{dir: filepath.Join(dir, "state"), bin: filepath.Join(dir, kubernetesDir)}
	cni := filepath.Join(r.Dir, "cni")
	if err := errors.Join(os.Mkdir(c.dir, 0o755), os.MkdirAll(cni, 0o755)); err != nil {
		return nil, err
	}
	fill := strings.NewReplacer("$W", c.dir, "$G", groupName, "$C", filepath.Join(r.Dir, "containerd.sock"))
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(fill.Replace(content)), 0o600); err != nil {
			return nil, err
		}
	}
	if err := signingKey(filepath.Join(c.dir, "sa.key")); err != nil {
		return nil, err
	}
	for _, plugin := range []string{"ptp", "host-local", "loopback"} {
		if err := os.Symlink(filepath.Join(c.bin, plugin), filepath.Join(cni, plugin)); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(cni, "10-ptp.conflist"), []byte(fill.Replace(network)), 0o600); err != nil {
		return nil, err
	}
	if err := os.Setenv("KUBECONFIG", filepath.Join(c.dir, "admin.kubeconfig")); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{
			"server", "--data-dir", "etcd", "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync",
		},
		{
			"kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--service-cluster-ip-range=10.0.0.0/24", "--bind-address=127.0.0.1",
			"--advertise-address=10.98.0.1", "--endpoint-reconciler-type=none", "--cert-dir=api", "--token-auth-file=tokens.csv",
			"--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key", "--service-account-issuer=https://kubernetes.default.svc",
			// No pod here asks the API server.
			"--disable-admission-plugins=ServiceAccount",
			"--authorization-mode=Node,RBAC", "--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true",
		},
		{"kube-controller-manager", "--kubeconfig=admin.kubeconfig", "--leader-elect=false"},
		{"kube-scheduler", "--kubeconfig=admin.kubeconfig", "--leader-elect=false"},
	} {
		d := c.daemon(args...)
		if err := d.start(); err != nil {
			return nil, err
		}
		if args[0] != "kube-apiserver" {
			continue
		}
		if err := c.until(ctx, func() error { _, err := c.kubectl(ctx, "get", "--raw", "/readyz"); return err }); err != nil {
			return nil, err
		}
	}
	c.kubelet = c.daemon("kubelet", "--config=kubelet.yaml", "--kubeconfig=node.kubeconfig", "--cert-dir=kubelet-pki",
		"--hostname-override=node1", "--node-ip=10.98.0.1")
	if err := c.kubelet.start(); err != nil {
		return nil, err
	}
	return c, c.until(ctx, func() error {
		_, err := c.kubectl(ctx, "wait", "--for=condition=Ready", "node/node1", "--timeout=1s")
		return err
	})
}

func (c *cluster) daemon(args ...string) *daemon {
	return &daemon{path: filepath.Join(c.bin, args[0]), args: args[1:], log: filepath.Join(c.dir, args[0]+".log")}
}

// until waits for a part of the cluster.
func (c *cluster) until(ctx context.Context, f func() error) error {
	err := rig.Poll(ctx, 2*time.Minute, f)
	if err != nil {
		err = fmt.Errorf("bring up the cluster: %w\n%s", err, c.logs())
	}
	return err
}

// logs are the last lines of each part.
func (c *cluster) logs() string {
	out, err := exec.Command("sh", "-c", "cd $0 && tail -n 15 *.log", c.dir).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// kubectl runs kubectl and gives what it prints.
func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	return output(exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), args...))
}

// output runs a command and gives what it prints; what it prints on standard error
// is in the error.
func output(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(append([]string{filepath.Base(cmd.Path)}, cmd.Args[1:]...), " "), err, &stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// signingKey makes the key of service accounts, without which the API server does
// not start.
func signingKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
