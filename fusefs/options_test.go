package fusefs

import (
	"strings"
	"testing"
)

func TestMountOptionsSELinux(t *testing.T) {
	fs := &FileSystem{}
	if got := fs.mountOptions(7); !strings.HasPrefix(got, "fd=7,") || strings.Contains(got, "context") {
		t.Errorf("options are %s, want descriptor 7, and no context", got)
	}
	fs.SELinuxContext = "system_u:object_r:container_file_t:s0:c1,c2"
	want := `,context="system_u:object_r:container_file_t:s0:c1,c2"`
	if got := fs.mountOptions(7); !strings.HasSuffix(got, want) {
		t.Errorf("options are %s, want them to end in %s", got, want)
	}
}
