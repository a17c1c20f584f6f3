package packages

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The versions that are built: a candidate, and a commit after the release.
const (
	one, two         = "v1.0.0-rc.1", "v1.0.0-2-g0123abc"
	oneName, twoName = "1.0.0~rc.1-1", "1.0.0+2.g0123abc-1"
)

// added is what the second version's configuration has over the first's.
const added = "# The next version's.\n"

// rpmArch is what rpm calls an architecture.
var rpmArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// built is where both versions are, in folders of their names.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	status, err := run(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func run(ctx context.Context, m *testing.M) (status int, err error) {
	if built, err = os.MkdirTemp("", "lxn-packages-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(built) //nolint:errcheck // of temporary files
	for version, architectures := range map[string]string{one: "amd64 arm64", two: runtime.GOARCH} {
		dir := filepath.Join(built, version)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return 0, err
		}
		if err := Copy(ctx, dir); err != nil {
			return 0, err
		}
		if version == two {
			if err := appendTo(filepath.Join(dir, "packaging/config.yaml"), added); err != nil {
				return 0, err
			}
		}
		if err := Build(ctx, dir, version, architectures); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Close()
}

// deb and rpm are where a version's packages are below the folder built.
func deb(version, name, arch string) string {
	return filepath.Join(version, "dist", fmt.Sprintf("lxcfs-nri_%s_%s.deb", name, arch))
}

func rpm(version, name, arch string) string {
	return filepath.Join(version, "dist", fmt.Sprintf("lxcfs-nri-%s.%s.rpm", name, rpmArch[arch]))
}

// output runs a program in the folder built and gives what it prints.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = built
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}
