package fusefs

// Slot is where a worker's request is.
func (s *Shared) Slot(n int) []byte { return s.slot(n) }

// Protocol returns what makes the answers to requests, without a device.
func (fs *FileSystem) Protocol(shared *Shared) (reply func(in, out []byte) (n int)) {
	return fs.connect("", -1, shared).loop.reply
}

// KeepTrigger writes the record of a trigger, and then some of its bytes. It returns
// what the next process finds in it.
func (s *Shared) KeepTrigger(file string, text []byte, at uint16, garbage []byte) (foundFile string, foundText []byte) {
	r := s.trigger(0)
	r.set(&triggerWrite{handle: 1, file: file, text: text})
	if len(garbage) > 0 {
		copy(s.mem[triggersAt+int(at)%sharedTriggerSize:triggersAt+sharedTriggerSize], garbage)
	}
	w := r.written(1)
	return w.file, w.text
}

// TurnOf is the group whose turn a thread's requests are, 0 where it is not known.
func (fs *FileSystem) TurnOf(pid uint32) uint32 { return fs.callers.of(pid) }

// NoPolls makes it the memory of a connection on which a poll was not answered.
func (s *Shared) NoPolls() { s.head().polls = 0 }
