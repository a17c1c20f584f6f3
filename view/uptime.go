package view

import (
	"strconv"
	"time"
)

// /proc/uptime: uptime_proc_show in fs/proc/uptime.c; docs/views.md, "uptime".

// appendUptime makes /proc/uptime.
func (v *View) appendUptime(b []byte) ([]byte, error) {
	g, err := v.cgroup()
	if err != nil {
		return b, err
	}
	mem := borrow()
	defer mem.giveBack()
	total, _, err := v.cpuTimes(g, mem)
	if err != nil {
		return b, err
	}
	var up time.Duration
	if ns := v.timeNamespace(); ns.own {
		up = max(0, v.host.now()+ns.offset)
	} else if start, known := v.started(); known {
		up = max(0, v.host.now()-start)
	}
	b = append(appendHundredths(b, uint64(up/tick)), ' ')
	return append(appendHundredths(b, total.idle), '\n'), v.gone(g)
}

// appendHundredths prints n/100 with two decimals.
func appendHundredths(b []byte, n uint64) []byte {
	b = append(strconv.AppendUint(b, n/100, 10), '.')
	return append(b, byte('0'+n%100/10), byte('0'+n%10))
}
