package focus

import "confab/xmpp/xep/jitmeet"

// onMetadata takes the room's metadata (focus.md §18). Every message is the full
// state, but what is switched for a whole meeting changes only when it is said.
func (c *Conference) onMetadata(md *jitmeet.RoomMetadata) {
	if md.VisitorsEnabled == nil {
		md.VisitorsEnabled = c.metadata.VisitorsEnabled
	}
	if md.ParticipantsSoftLimit == nil {
		md.ParticipantsSoftLimit = c.metadata.ParticipantsSoftLimit
	}
	if md.StartMuted == nil {
		md.StartMuted = c.metadata.StartMuted
	}
	was := c.transcribing()
	c.metadata = *md
	if c.transcribing() != was {
		c.transcriptionChanged()
	}
}
