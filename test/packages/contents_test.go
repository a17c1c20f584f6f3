package packages

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// both are what either package has, and the folders that are its own.
const both = `
drwxr-xr-x /etc/lxcfs-nri
-rw-r--r-- /etc/lxcfs-nri/config.yaml
-rwxr-xr-x /usr/bin/lxcfs-nri
-rw-r--r-- /usr/lib/systemd/system/lxcfs-nri-detach.service
-rw-r--r-- /usr/lib/systemd/system/lxcfs-nri.service
drwxr-xr-x /usr/libexec/lxcfs-nri
-rwxr-xr-x /usr/libexec/lxcfs-nri/lxcfs-nri-hook
-rw-r--r-- /usr/share/bash-completion/completions/lxcfs-nri
-rw-r--r-- /usr/share/containers/oci/hooks.d/lxcfs-nri-annotated.json
drwxr-xr-x /usr/share/doc/lxcfs-nri
-rw-r--r-- /usr/share/doc/lxcfs-nri/README.md
-rw-r--r-- /usr/share/doc/lxcfs-nri/operations.md
-rw-r--r-- /usr/share/fish/vendor_completions.d/lxcfs-nri.fish
drwxr-xr-x /usr/share/lxcfs-nri
drwxr-xr-x /usr/share/lxcfs-nri/hooks.d
-rw-r--r-- /usr/share/lxcfs-nri/hooks.d/lxcfs-nri.json
-rw-r--r-- /usr/share/man/man5/lxcfs-nri.yaml.5.gz
-rw-r--r-- /usr/share/man/man8/lxcfs-nri-attach.8.gz
-rw-r--r-- /usr/share/man/man8/lxcfs-nri-detach.8.gz
-rw-r--r-- /usr/share/man/man8/lxcfs-nri-hook.8.gz
-rw-r--r-- /usr/share/man/man8/lxcfs-nri-serve.8.gz
-rw-r--r-- /usr/share/man/man8/lxcfs-nri-status.8.gz
-rw-r--r-- /usr/share/man/man8/lxcfs-nri-supervise.8.gz
-rw-r--r-- /usr/share/man/man8/lxcfs-nri-version.8.gz
-rw-r--r-- /usr/share/man/man8/lxcfs-nri.8.gz
`

const onlyDeb = `
-rw-r--r-- /usr/share/doc/lxcfs-nri/changelog.Debian.gz
-rw-r--r-- /usr/share/doc/lxcfs-nri/copyright
-rw-r--r-- /usr/share/lintian/overrides/lxcfs-nri
-rw-r--r-- /usr/share/zsh/vendor-completions/_lxcfs-nri
`

const onlyRpm = `
drwxr-xr-x /usr/share/containers/oci
drwxr-xr-x /usr/share/containers/oci/hooks.d
drwxr-xr-x /usr/share/fish
drwxr-xr-x /usr/share/fish/vendor_completions.d
drwxr-xr-x /usr/share/licenses/lxcfs-nri
-rw-r--r-- /usr/share/licenses/lxcfs-nri/LICENSE
-rw-r--r-- /usr/share/zsh/site-functions/_lxcfs-nri
`

// listed sorts lines by path.
func listed(lines string) []string {
	l := strings.Split(strings.TrimSpace(lines), "\n")
	slices.SortFunc(l, func(a, b string) int { return strings.Compare(a[strings.Index(a, " "):], b[strings.Index(b, " "):]) })
	return l
}

func compare(t *testing.T, arch string, want, got []string) {
	t.Helper()
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s: there is no %s", arch, line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s: nobody wants %s", arch, line)
		}
	}
}

func TestDebContents(t *testing.T) {
	t.Parallel()
	for _, arch := range []string{"amd64", "arm64"} {
		var got strings.Builder
		list := output(t, "dpkg-deb", "--contents", deb(one, oneName, arch))
		for _, m := range regexp.MustCompile(`(?m)^(\S+) (\S+) +\d+ \S+ \S+ \.(\S+)$`).FindAllStringSubmatch(list, -1) {
			mode, owner, path := m[1], m[2], strings.TrimSuffix(m[3], "/")
			if owner != "root/root" && owner != "0/0" {
				t.Errorf("%s is %s's", path, owner)
			}
			if mode[0] != 'd' || strings.Contains(path, "lxcfs-nri") {
				got.WriteString(mode + " " + path + "\n")
			}
		}
		compare(t, arch, listed(both+onlyDeb[1:]), listed(got.String()))
		if got := output(t, "dpkg-deb", "--info", deb(one, oneName, arch), "conffiles"); got != "/etc/lxcfs-nri/config.yaml\n" {
			t.Errorf("conffiles: %q", got)
		}
		if got := output(t, "dpkg-deb", "--field", deb(one, oneName, arch), "Architecture"); got != arch+"\n" {
			t.Errorf("%s has the architecture %q", arch, got)
		}
	}
}

func TestRpmContents(t *testing.T) {
	t.Parallel()
	const format = `[%{FILEMODES:perms} %{FILENAMES} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags}\n]`
	for _, arch := range []string{"amd64", "arm64"} {
		var got strings.Builder
		for line := range strings.Lines(output(t, "rpm", "-qp", "--qf", format, rpm(one, oneName, arch))) {
			f := strings.Fields(line + " -")
			if f[2] != "root:root" {
				t.Errorf("%s is %s's", f[1], f[2])
			}
			if config := f[1] == "/etc/lxcfs-nri/config.yaml"; config != (f[3] == "cn") {
				t.Errorf("%s has the flags %s", f[1], f[3])
			}
			got.WriteString(f[0] + " " + f[1] + "\n")
		}
		compare(t, arch, listed(both+onlyRpm[1:]), listed(got.String()))
		if got := output(t, "rpm", "-qp", "--qf", "%{ARCH}", rpm(one, oneName, arch)); got != rpmArch[arch] {
			t.Errorf("%s has the architecture %q", arch, got)
		}
	}
}

// TestArchitectures looks at the programs themselves.
func TestArchitectures(t *testing.T) {
	t.Parallel()
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		dir := t.TempDir()
		output(t, "dpkg-deb", "--extract", deb(one, oneName, arch), dir)
		for _, program := range []string{"/usr/bin/lxcfs-nri", "/usr/libexec/lxcfs-nri/lxcfs-nri-hook"} {
			f, err := elf.Open(dir + program)
			if err != nil {
				t.Fatal(err)
			}
			if f.Machine != machine {
				t.Errorf("%s for %s is for %v", program, arch, f.Machine)
			}
			if f.Section(".interp") != nil || f.Section(".symtab") != nil {
				t.Errorf("%s for %s is not static, or not stripped", program, arch)
			}
			f.Close() //nolint:errcheck // it was only read
		}
	}
}

// TestReproducible builds once more, in another folder and at another time.
func TestReproducible(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := Copy(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := Build(t.Context(), dir, one, runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{deb(one, oneName, runtime.GOARCH), rpm(one, oneName, runtime.GOARCH)} {
		first, err := os.ReadFile(filepath.Join(built, file))
		if err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(filepath.Join(dir, "dist", filepath.Base(file)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) {
			t.Errorf("%s, built twice, is not the same", filepath.Base(file))
		}
	}
}

// TestLayout checks that the page on operations has every place where files are.
func TestLayout(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "\n## Layout of files\n")
	if !found {
		t.Fatal("docs/operations.md has no section \"Layout of files\"")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	for _, line := range listed(both + onlyDeb[1:] + onlyRpm[1:]) {
		mode, path, _ := strings.Cut(line, " ")
		if mode[0] != 'd' && !strings.Contains(table, "`"+path+"`") && !strings.Contains(table, "`"+filepath.Dir(path)+"/`") {
			t.Errorf("%s is not in docs/operations.md", path)
		}
	}
}
