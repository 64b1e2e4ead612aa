package stun

// Methods (RFC 8489 §18.2, RFC 8656 §17, RFC 6062 §6.1).
const (
	Binding           = 0x001
	Allocate          = 0x003
	Refresh           = 0x004
	Send              = 0x006
	Data              = 0x007
	CreatePermission  = 0x008
	ChannelBind       = 0x009
	Connect           = 0x00a
	ConnectionBind    = 0x00b
	ConnectionAttempt = 0x00c
)

// Classes (RFC 8489 §5).
const (
	Request    = 0x000
	Indication = 0x010
	Success    = 0x100
	Error      = 0x110

	classMask = 0x110
)

// Attributes.
const (
	AttrMappedAddress           = 0x0001
	AttrChangeRequest           = 0x0003 // RFC 5780 §7.2
	AttrUsername                = 0x0006
	AttrMessageIntegrity        = 0x0008
	AttrErrorCode               = 0x0009
	AttrUnknownAttributes       = 0x000a
	AttrChannelNumber           = 0x000c
	AttrLifetime                = 0x000d
	AttrXORPeerAddress          = 0x0012
	AttrData                    = 0x0013
	AttrRealm                   = 0x0014
	AttrNonce                   = 0x0015
	AttrXORRelayedAddress       = 0x0016
	AttrRequestedAddressFamily  = 0x0017
	AttrEvenPort                = 0x0018
	AttrRequestedTransport      = 0x0019
	AttrDontFragment            = 0x001a
	AttrXORMappedAddress        = 0x0020
	AttrReservationToken        = 0x0022
	AttrPriority                = 0x0024 // of ICE: in checks that come to the wrong port
	AttrUseCandidate            = 0x0025
	AttrPadding                 = 0x0026 // RFC 5780 §7.6
	AttrResponsePort            = 0x0027 // RFC 5780 §7.5
	AttrConnectionID            = 0x002a // RFC 6062 §6.2
	AttrAdditionalAddressFamily = 0x8000
	AttrAddressErrorCode        = 0x8001
	AttrAlternateDomain         = 0x8003 // RFC 8489 §14.16
	AttrICMP                    = 0x8004 // RFC 8656 §18.13
	AttrSoftware                = 0x8022
	AttrAlternateServer         = 0x8023 // RFC 8489 §14.15
	AttrFingerprint             = 0x8028
	AttrResponseOrigin          = 0x802b // RFC 5780 §7.3
	AttrOtherAddress            = 0x802c // RFC 5780 §7.4
	AttrMobilityTicket          = 0x8030 // RFC 8016 §3.1

	// What drafts before RFC 8656 had for 0x8000 and 0x8001, and coturn has still.
	AttrDraftAdditionalAddressFamily = 0x8032
	AttrDraftAddressErrorCode        = 0x8033
)

func known(kind uint16) bool {
	switch kind {
	case AttrMappedAddress, AttrChangeRequest, AttrUsername, AttrMessageIntegrity, AttrErrorCode, AttrUnknownAttributes,
		AttrChannelNumber, AttrLifetime, AttrXORPeerAddress, AttrData, AttrRealm, AttrNonce, AttrXORRelayedAddress,
		AttrRequestedAddressFamily, AttrEvenPort, AttrRequestedTransport, AttrDontFragment, AttrXORMappedAddress,
		AttrReservationToken, AttrPriority, AttrUseCandidate, AttrPadding, AttrResponsePort, AttrConnectionID:
		return true
	}
	return false
}

// Values of REQUESTED-ADDRESS-FAMILY and of the families of addresses.
const (
	FamilyIPv4 = 1
	FamilyIPv6 = 2
)

// Values of REQUESTED-TRANSPORT: protocol numbers.
const (
	TransportTCP = 6
	TransportUDP = 17
)

// Channel numbers that can be bound. RFC 8656 §12 ends them at 0x4fff, for ports that
// DTLS and RTP come to as well; RFC 5766 §11 had twelve thousand more, which coturn's
// tools and older clients draw theirs from.
const (
	MinChannel = 0x4000
	MaxChannel = 0x7fff
)

// Error codes (RFC 8489 §14.8, RFC 8656 §19, RFC 6062 §6.3, RFC 8016 §3.3).
const (
	CodeTryAlternate           = 300
	CodeBadRequest             = 400
	CodeUnauthorized           = 401
	CodeForbidden              = 403
	CodeMobilityForbidden      = 405
	CodeUnknownAttribute       = 420
	CodeAllocationMismatch     = 437
	CodeStaleNonce             = 438
	CodeFamilyNotSupported     = 440
	CodeWrongCredentials       = 441
	CodeUnsupportedTransport   = 442
	CodePeerFamilyMismatch     = 443
	CodeConnectionExists       = 446
	CodeConnectionFailed       = 447
	CodeAllocationQuotaReached = 486
	CodeInsufficientCapacity   = 508
)

// reason is the standard phrase and nothing else: more would tell strangers of the
// configuration, and make answers to forged requests longer.
func reason(code int) string {
	switch code {
	case CodeTryAlternate:
		return "Try Alternate"
	case CodeBadRequest:
		return "Bad Request"
	case CodeUnauthorized:
		return "Unauthorized"
	case CodeForbidden:
		return "Forbidden"
	case CodeMobilityForbidden:
		return "Mobility Forbidden"
	case CodeUnknownAttribute:
		return "Unknown Attribute"
	case CodeAllocationMismatch:
		return "Allocation Mismatch"
	case CodeStaleNonce:
		return "Stale Nonce"
	case CodeFamilyNotSupported:
		return "Address Family not Supported"
	case CodeWrongCredentials:
		return "Wrong Credentials"
	case CodeUnsupportedTransport:
		return "Unsupported Transport Protocol"
	case CodePeerFamilyMismatch:
		return "Peer Address Family Mismatch"
	case CodeConnectionExists:
		return "Connection Already Exists"
	case CodeConnectionFailed:
		return "Connection Timeout or Failure"
	case CodeAllocationQuotaReached:
		return "Allocation Quota Reached"
	case CodeInsufficientCapacity:
		return "Insufficient Capacity"
	}
	return "Server Error"
}
