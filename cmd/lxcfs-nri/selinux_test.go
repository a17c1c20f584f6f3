package main

import (
	"path/filepath"
	"testing"
)

func TestSELinuxContext(t *testing.T) {
	here, missing := t.TempDir(), filepath.Join(t.TempDir(), "filesystem")
	for _, tt := range []struct{ setting, enabled, want string }{
		{"auto", here, "system_u:object_r:container_file_t:s0"},
		{"auto", missing, ""},
		{"none", here, ""},
		{"system_u:object_r:other_t:s0", missing, "system_u:object_r:other_t:s0"},
	} {
		if got := selinuxContext(tt.setting, tt.enabled); got != tt.want {
			t.Errorf("selinuxContext(%q, %q) = %q, want %q", tt.setting, tt.enabled, got, tt.want)
		}
	}
}
