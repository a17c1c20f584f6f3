package main

import (
	"os"

	"github.com/lxcfs-nri/lxcfs-nri/config"
)

// selinuxEnabled exists where SELinux is on and has a policy, of which classes are.
// Elsewhere the kernel takes no mount that names a context.
const selinuxEnabled = "/sys/fs/selinux/class/filesystem"

// containerFile is the type that policies let every container read, and without a
// category it is nobody's own. By itself a FUSE file system has fusefs_t, which not
// all of them let containers read.
const containerFile = "system_u:object_r:container_file_t:s0"

// selinuxContext is the context to mount with, empty for none.
func selinuxContext(setting, enabled string) string {
	switch setting {
	case config.SELinuxNone:
		return ""
	case config.SELinuxAuto:
		if _, err := os.Stat(enabled); err != nil {
			return ""
		}
		return containerFile
	}
	return setting
}
