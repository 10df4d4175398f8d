"""Every reason a fabric gives for saying no or letting go: one number, one sentence, one remedy.

The same name appears on the wire (as a QUIC application error code, a ``Refused`` frame's
code, or the first word of a close reason), in logs, in metrics and in what a person reads.
Numbers are frozen by ``tests/vectors``; a new reason takes a new number and none is reused.
Numbers below 16 belong to :mod:`fabric.trio_quic`, which has names of its own for them.
"""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """A coded reason. ``Code.X.sentence`` says what happened, ``Code.X.remedy`` what to do."""

    sentence: str
    remedy: str

    def __new__(cls, number: int, sentence: str, remedy: str) -> Code:
        member = int.__new__(cls, number)
        member._value_ = number
        member.sentence = sentence
        member.remedy = remedy
        return member

    @property
    def label(self) -> str:
        """The name as logs, metrics and people write it: lower case."""
        return self.name.lower()

    @classmethod
    def from_wire(cls, number: int, label: str = "") -> Code:
        """Return the code that a peer meant, whichever release it runs.

        *label* is the first word of a close reason: it wins, because a close in the first flight
        cannot carry an application's number. What this release does not know is
        :attr:`INTERNAL_ERROR`, the only code that promises nothing about retrying.
        """
        named = cls.__members__.get(label.upper())
        if named is not None:
            return named
        return cls._value2member_map_.get(number, cls.INTERNAL_ERROR)  # type: ignore[return-value]  # typeshed says Enum

    # -- the driver's own, mirrored so that they read alike everywhere --
    DONE = (0, "It ended normally.", "Nothing to do.")
    INTERNAL_ERROR = (1, "The other end met a bug of its own.", "Read that end's log.")
    PIN_MISMATCH = (
        2,
        "The node that answered holds another key than the one pinned for this peer.",
        "Compare the key in the peer's signed record with what `fabricd --check-config` says on "
        "the peer; suspect the address.",
    )
    FLOW_CONTROL = (
        3,
        "The peer sent more than it was allowed to.",
        "Update the peer: its driver ignores stream credit.",
    )
    READER_STALLED = (
        4,
        "The channel's reader stopped reading while the connection ran out of buffer.",
        "Find why the application does not read; other channels went on.",
    )
    STRANGER_BUDGET = (
        5,
        "A connection that had not said Hello used up what a stranger may use.",
        "If this is a node of yours, see why its Hello does not arrive.",
    )
    HANDSHAKE_TIMEOUT = (
        6,
        "The QUIC handshake did not finish in time.",
        "Check the address, and that UDP passes between the two.",
    )
    STREAM_REFUSED = (
        7,
        "The peer had no room for one more stream.",
        "Retry; raise the peer's limits if it happens again.",
    )
    BUSY = (8, "The peer had no room for one more connection.", "Retry later.")
    CANCELLED = (9, "The sending task was cancelled.", "Nothing to do, or see that end's log.")
    IDLE_TIMEOUT = (
        10,
        "Nothing was heard within the idle timeout.",
        "Check the path and the peer.",
    )
    FORGOTTEN = (
        11,
        "The peer was restarted and no longer knows this connection.",
        "Nothing to do: it is dialled again.",
    )

    # -- admission: Hello and what follows --
    NO_CHALLENGE = (
        16,
        "The acceptor sent no Challenge within five seconds.",
        "Is that address a fabric node of this release?",
    )
    NO_HELLO = (
        17,
        "The dialler sent no Hello within five seconds.",
        "Is the dialler a fabric node of this release?",
    )
    NO_COMMON_VERSION = (
        18,
        "The two nodes have no protocol version in common.",
        "Update the older of the two.",
    )
    WRONG_FABRIC = (
        19,
        "The node belongs to another fabric.",
        "Compare the files that node.trust_root names on both: `fabricctl root show FILE`.",
    )
    UNKNOWN_KEY = (
        20,
        "No node with this key is known here.",
        "`fabricctl node add NAME --key KEY`, and let this node hear the record.",
    )
    BAD_PROOF = (
        21,
        "The Hello's signature does not prove its key to this acceptor and challenge.",
        "Expected of a replayed or forwarded Hello; otherwise update the dialler.",
    )
    STALE_INSTANCE = (
        22,
        "A newer process of this node is already connected.",
        "Stop the older process of that node.",
    )
    DUPLICATE_IDENTITY = (
        23,
        "Two processes use one node key at the same time.",
        "Stop one, or give it a key of its own.",
    )
    DUPLICATE = (
        24,
        "Both ends dialled; the other connection was kept.",
        "Nothing to do.",
    )
    REPLACED = (
        25,
        "A newer process of the same node took over.",
        "Nothing to do after a restart.",
    )
    PEER_SILENT = (
        26,
        "The peer acknowledged nothing for four seconds.",
        "See whether its process runs and UDP passes.",
    )
    MALFORMED_FRAME = (
        27,
        "A frame could not be decoded.",
        "Update the peer; if it is current, report this with both logs.",
    )
    UNEXPECTED_FRAME = (
        28,
        "A frame came that is not legal at this point.",
        "Update the peer; if it is current, report this with both logs.",
    )
    SHUTTING_DOWN = (29, "The node is shutting down.", "Another instance or a retry will do.")
    DRAINING = (30, "The node is draining and takes no new work.", "Use another instance.")

    # -- opening a channel --
    UNKNOWN_SERVICE = (
        40,
        "No service of this name is known here.",
        "Check the spelling; `fabricctl service add` makes one, once its record is published.",
    )
    NO_INSTANCE = (
        41,
        "No node that could be reached offers this service now.",
        "See `fabricctl services`: what offers are known, and why none can be used.",
    )
    NOT_PERMITTED = (
        42,
        "This node may not open this service.",
        "Add a selector for it to the open_to of the service's record: `fabricctl service add`.",
    )
    BACKEND_REFUSED = (
        43,
        "The service's backend refused the connection.",
        "Start the backend, or mend its address in [services.NAME].",
    )
    BACKEND_SILENT = (
        44,
        "The service's backend did not answer in time.",
        "See whether the backend hangs; connect_timeout_s bounds the wait.",
    )
    DEADLINE = (
        45,
        "The deadline passed before the channel was open.",
        "Retry; see the peer's RTT.",
    )
    SERVICE_FULL = (
        46,
        "The service has as many channels as it may.",
        "Wait, or raise max_channels of the service.",
    )
    NOT_EDGE_EXPOSABLE = (
        47,
        "This service may not be opened to clients outside the fabric.",
        "Sign the service's record with --edge, if that is meant: `fabricctl service add`.",
    )
    CLIENT_NOT_BELIEVED = (
        48,
        "A client address came from a node without role ingress.",
        "Give its record the role ingress, if it is one: `fabricctl node change`.",
    )

    # -- the life of a channel --
    QUOTA_EXCEEDED = (
        60,
        "The channel moved as many bytes as its quota allows.",
        "Raise quota_bytes of the service or listener.",
    )
    IDLE = (61, "The channel moved nothing for its idle timeout.", "Raise idle_timeout_s.")
    CLIENT_GONE = (62, "The TCP client reset its connection.", "Nothing to do here.")
    BACKEND_GONE = (63, "The backend reset its connection.", "Read the backend's log.")
    PEER_LOST = (
        64,
        "The connection that carried the channel ended.",
        "See why the peer went; the next connection is tried anew.",
    )
    DRAIN_TIMEOUT = (
        65,
        "The channel outlived the drain of its node.",
        "Raise drain_timeout_s, or let the client reconnect.",
    )
    LISTENER_FULL = (
        66,
        "The listener has as many connections as it may.",
        "Raise max_connections of the listener.",
    )
    BAD_PROXY_HEADER = (
        67,
        "The connection did not start with a valid PROXY header.",
        "Let the load balancer send PROXY v1 or v2, or set accept_proxy = false.",
    )

    # -- asking over HTTP: the admin socket --
    BAD_REQUEST = (
        80,
        "The request cannot be understood.",
        "Correct it: docs/reference/admin-api.md shows each one.",
    )
    REQUEST_TOO_LARGE = (
        81,
        "The request is larger than this route takes.",
        "Send less: 16 KiB of headers and 1 MiB of body at most.",
    )
    REQUEST_TOO_SLOW = (
        82,
        "The request did not arrive in time.",
        "Send it at once; look for a client that hangs.",
    )
    TOO_MANY_CLIENTS = (
        83,
        "As many clients are connected here as may be.",
        "End some of them, or retry later.",
    )
    NO_SUCH_ROUTE = (
        84,
        "Nothing answers at this path.",
        "Check the path; the tool that asks may be of another release than the node.",
    )
    NO_SUCH_METHOD = (
        85,
        "This path does not take this method.",
        "Check the method in docs/reference/admin-api.md.",
    )
    CALLER_MAY_NOT_READ = (
        86,
        "This user may not read from this node.",
        "Join the group [admin] group, or ask as the node's user or root.",
    )
    CALLER_MAY_NOT_CHANGE = (
        87,
        "This user may look at this node but not change it.",
        "Ask as root, as the node's user, or as a member of [admin] change_group.",
    )
    UNKNOWN_CHANNEL = (
        88,
        "No open channel has this id here.",
        "See `fabricctl channels`; the log of an ended channel is found by its id.",
    )
    STARTING = (89, "The node has not finished starting.", "Wait, or read its log.")
    CANNOT_LISTEN = (
        90,
        "The node cannot listen at this address.",
        "Choose another port, or end what listens there.",
    )
    NOT_LOOPBACK = (
        91,
        "Other machines could reach this address, and would act as this node.",
        'Listen on 127.0.0.1 or [::1]; or ask with "remote": true, if that is meant.',
    )
    CONFIGURED_SERVICE = (
        92,
        "The node's file already names the backend of this service.",
        "Change [services.NAME] there and restart the node, or expose it under another name.",
    )

    # -- records: what a signature, an author or a clock speaks against --
    RECORD_MALFORMED = (
        100,
        "The bytes are not a record of the kind that they name.",
        "Have it signed again by a current release; see `fabricctl record show FILE`.",
    )
    RECORD_NOT_CANONICAL = (
        101,
        "The record is not written in the one canonical way.",
        "Sign it with fabricctl: two spellings of one record could be told apart by nobody.",
    )
    RECORD_TOO_LARGE = (
        102,
        "The record is larger than its kind may be.",
        "Split it: 64 KiB for the control plane's, 8 KiB for a node's own.",
    )
    RECORD_OF_ANOTHER_FABRIC = (
        103,
        "The record was signed for another fabric.",
        "Check which fabric's folder it comes from.",
    )
    SELF_AUTHORED = (
        104,
        "A node signed what only the fabric's own keys may say.",
        "Find out who holds that node's key: an honest node never does this.",
    )
    WRONG_AUTHOR = (
        105,
        "The record is signed by somebody who is not its author.",
        "Only the node itself may sign this kind about itself.",
    )
    FORGED = (
        106,
        "The signature is not that of the key that it names.",
        "Suspect whoever sent it: honest nodes pass on only what verified.",
    )
    UNKNOWN_SIGNER = (
        107,
        "The record names a signing key that is not known here.",
        "Nothing, if a newer trust root is on its way; else see `fabricctl root show`.",
    )
    THRESHOLD_NOT_MET = (
        108,
        "Too few distinct keys of the role have signed.",
        "Have the missing holders sign: `fabricctl root show` names the thresholds.",
    )
    KEY_RETIRED = (
        109,
        "The signing key has been retired: nothing new is taken from it.",
        "Sign with a current key: `fabricctl directory resign`.",
    )
    KEY_COMPROMISED = (
        110,
        "The signing key is marked as compromised: nothing of it counts any more.",
        "Sign again with a current key: `fabricctl directory rekey`.",
    )
    RECORD_EXPIRED = (
        111,
        "The record's time is over and nothing newer is held.",
        "Sign it again: `fabricctl directory resign`, and let the nodes hear it.",
    )
    NOT_YET_VALID = (
        112,
        "The record is dated in the future.",
        "Compare the clocks of the signer and of this node.",
    )
    SUPERSEDED = (
        113,
        "A newer record for the same key is held.",
        "Nothing to do.",
    )
    GENERATION_LEAP = (
        114,
        "The record's number is further ahead than honest signing ever gets.",
        "Find out who signed it; take the next epoch if the numbers are lost.",
    )
    EQUIVOCATED = (
        115,
        "Two different records were signed under one number.",
        "Find the signer that did; publish the next number to go on.",
    )
    NEEDS_NEWER_RELEASE = (
        116,
        "The record says that it must not be used without a field unknown to this release.",
        "Update this node.",
    )
    REVOKED = (
        117,
        "This node, service or key has been revoked.",
        "If it is still meant: `fabricctl node replace NAME` gives a node a new key, `fabricctl "
        "service add` signs a service anew.",
    )
    RECORD_TOO_OLD = (
        118,
        "The record expired so long ago that its key has been forgotten everywhere.",
        "Sign it again, if it is still meant.",
    )
    EPOCH_NOT_ALLOWED = (
        119,
        "The record's epoch is outside the range that the trust root allows.",
        "Raise the range: `fabricctl root rotate`.",
    )
    OVER_BUDGET = (
        120,
        "One author's records came faster than they are passed on.",
        "Find out why that node changes its records so often.",
    )
    ROOT_NOT_CONSECUTIVE = (
        121,
        "The trust root does not follow the one that is held.",
        "Hand over every version in between: `fabricctl root show --all`.",
    )
    CLOCK_BEHIND = (
        122,
        "This node's clock is behind what the fabric's keys have dated.",
        "Set the clock; until then the later of the two is used.",
    )
    CLOCK_SKEWED = (
        123,
        "This node's clock differs from those of its peers.",
        "Set the clock, or look at theirs.",
    )
    FLOOR_TOO_FAR = (
        124,
        "A signed date is more than a day beyond this node's clock and does not count as time.",
        "Compare the signer's clock and this node's.",
    )
    PEER_BARRED = (
        125,
        "The peer sent a forged record and is kept out for ten minutes.",
        "Find out who holds that peer's key.",
    )
    OFFER_NOT_PERMITTED = (
        126,
        "No signed service record permits this node to offer the service.",
        "`fabricctl service add NAME --offer-by SELECTOR --open-to SELECTOR`, then publish it.",
    )
    UNKNOWN_RECORD = (
        127,
        "No record of this key is held here.",
        "See `fabricctl directory`; a key is written KIND/SUBJECT.",
    )
    CACHE_MOVED_ASIDE = (
        128,
        "The peer cache could not be read and was put aside; the node started from its seeds.",
        "Look at the file that the log names; delete it if nothing in it is missed.",
    )
    CACHE_FAILING = (
        129,
        "What this node learns cannot be written to its disk.",
        "Make room, or see why the state folder cannot be written.",
    )
    NO_OWN_RECORD = (
        130,
        "No signed record of this node is known, so no peer will admit it.",
        "`fabricctl node add NAME --key KEY`, and name the file in [node] records.",
    )
    SURVIVAL_GRACE = (
        131,
        "A node's record has expired; it is still admitted for a while.",
        "Sign it again: `fabricctl directory resign`, and let the nodes hear it.",
    )
    EXPIRING = (
        132,
        "A record that this node depends on expires soon.",
        "`fabricctl directory resign`, or see why the control plane does not.",
    )
    ROOT_CONFLICT = (
        133,
        "Two different trust roots of one version were signed.",
        "Stop publishing; find out who holds the root keys.",
    )
    LEFT = (134, "The node said that it leaves.", "Nothing to do.")
    NOT_AN_AUTHORITY = (
        135,
        "The folder does not hold the keys that this takes.",
        "Name the folder that `fabricctl init` made, with the key files in it.",
    )
    NO_PROOF = (
        136,
        "Nothing has proved lately that the service answers.",
        "See `fabricctl services`; open a channel to it.",
    )
    LIFE_TOO_LONG = (
        137,
        "The record would be valid for longer than its kind may be.",
        "Sign it again with fabricctl: twice the usual life of its kind is the most.",
    )
    SYNC_STALLED = (
        138,
        "The peer fell silent while the two nodes compared what they hold.",
        "Nothing: they compare again. If it is always the same peer, read its log.",
    )
    ITSELF = (139, "The address leads back to this very node.", "Nothing to do.")
