package view

// /proc/slabinfo: print_slabinfo_header in mm/slab_common.c; docs/views.md,
// "slabinfo". No kernel tells slabs per group any more.

const slabinfoHeader = "slabinfo - version: 2.1\n" +
	"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>" +
	" : tunables <limit> <batchcount> <sharedfactor>" +
	" : slabdata <active_slabs> <num_slabs> <sharedavail>\n"

// appendSlabinfo makes /proc/slabinfo: its header.
func (v *View) appendSlabinfo(b []byte) ([]byte, error) {
	if _, err := v.cgroup(); err != nil {
		return b, err
	}
	return append(b, slabinfoHeader...), nil
}
