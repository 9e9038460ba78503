"""One session with one peer: packets in, packets out, and the parts that make them reliable.

It holds the parts and passes between them: keys, `recovery`, `acks`, `congestion`, `pacing`, `path`, the `control`
stream and the `transfer`s. It knows nothing of requests: messages come out of `take_messages`, and go in by `say`.
Used by `endpoint` alone.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from agent.protocol import frames
from agent.protocol import messages as m
from agent.protocol.acks import Received
from agent.protocol.closing import CloseCode
from agent.protocol.congestion import Controller
from agent.protocol.contents import NOTHING, Content, ControlBytes, MtuProbe, Pieces
from agent.protocol.control import ControlIn, ControlOut
from agent.protocol.errors import PeerError
from agent.protocol.handshake import Established
from agent.protocol.keys import EPOCH_SHIFT
from agent.protocol.liveness import Liveness
from agent.protocol.messages import Message
from agent.protocol.mtu import BLACK_HOLE_TIMEOUTS
from agent.protocol.pacing import Pacer
from agent.protocol.packet import OVERHEAD, SMALLEST_DATAGRAM, Address, Datagrams, header_word
from agent.protocol.path import Path
from agent.protocol.paths import QUIET, Paths
from agent.protocol.ranking import Standing, relayed
from agent.protocol.recovery import Recovery
from agent.protocol.report import MEASURABLE, Report
from agent.protocol.sealing import PIECE_OVERHEAD, Opened, Opener, Sealer, batch_limit
from agent.protocol.transfer import ReceiveTransfer, SendTransfer

EPOCH: Final = 1 << EPOCH_SHIFT
TIMEOUTS: Final = 2  # probe timeouts in a row after which a silent path is left
TIMEOUTS_HEARD: Final = 4  # likewise, where the peer is still heard there


class Session:
    """An established session. Its doors are the core's: `receive`, `datagrams_to_send`, `timeout`, `handle_timeout`."""

    def __init__(
        self,
        established: Established,
        address: Address,
        sealer: Sealer,
        opener: Opener,
        random: Callable[[int], bytes],
        now: float,
    ) -> None:
        self.established = established
        self.peer = established.peer
        self.paths = Paths(address, random, now)
        self.path: Path = self.paths.active  # what packets are sent by
        self.path_changed = False
        self.there = m.PathReport(m.NO_PATH, ())  # what the peer has tried
        self.control = ControlOut()
        self.sending: dict[int, SendTransfer] = {}
        self.receiving: dict[int, ReceiveTransfer] = {}
        self.touched: set[int] = set()  # transfers that took bytes since the endpoint last looked
        self.proven = False  # the peer has shown that it holds the keys
        self.closed: tuple[CloseCode, str] | None = None
        self.life = Liveness(now)
        self.began_relayed = relayed(address)
        self._sealer, self._opener, self._random = sealer, opener, random
        self.word_in = header_word(established.local_connection_id)
        self._word = header_word(established.remote_connection_id)
        self._recovery = Recovery(Controller(self.path.mtu.size, now), int.from_bytes(random(4), "big"))
        self._pacer = Pacer(self.path.mtu.size, now)
        self._received = Received()
        self._control_in = ControlIn()
        self._messages: deque[Message] = deque()
        self._ping = True  # the first packet proves that we hold the keys
        self._probes = 0  # packets of the last batch that were challenges or responses
        self._next_name = 1
        self.initiated = False  # we began it: the response has proven the peer
        self.start: int | None = None  # the number of the peer's start, once it has said so
        self.counter: int | None = None  # of the handshake that the peer began

    # --- verbs ---

    def say(self, message: Message, now: float) -> None:
        """Send a message, reliably and in order."""
        self.control.queue(message)
        self.life.needed = now

    def take_messages(self) -> list[Message]:
        """Return the messages that arrived since the last call, in order."""
        messages, self._messages = list(self._messages), deque()
        return messages

    def receive_transfer(self, transfer: ReceiveTransfer) -> int:
        """Expect a transfer; return the name to ask for it by."""
        name = self._next_name
        self._next_name += 1
        if name >= frames.MAX_TRANSFER:
            raise PeerError("exhausted", "the transfers of this session are used up")
        self.receiving[name] = transfer
        return name

    def measured(self, rtt: float) -> None:
        """Begin with the round trip of the handshake, in seconds."""
        self._recovery.set_rtt(rtt)
        self.path.rtt = rtt

    @property
    def may_send(self) -> bool:
        """Tell whether the peer is known to be there, and not a replay."""
        return self.proven or self.initiated

    @property
    def rtt(self) -> float:
        """Return the smoothed round trip in seconds."""
        return self._recovery.smoothed_rtt

    def loss(self, sending: bool) -> float:
        """Estimate the share of packets lost, 0 to 1: of ours, or of the peer's."""
        return self._recovery.loss() if sending else self._received.loss()

    def report(self) -> Report:
        """Tell how the peer is reached, and what was tried."""
        path, loss = self.path, max(self._recovery.loss(MEASURABLE), self._received.loss(MEASURABLE))
        here, there, nat = self.paths.tried(), self.there.tried, self.paths.theirs.nat
        return Report(path.kind, path.address, self.rtt, loss, path.since, nat, here, there, self.began_relayed)

    def close_packet(self, code: CloseCode, reason: str) -> Datagrams:
        """Return the one packet that tells the peer that the session has ended."""
        number = self._recovery.allocate(1)
        data = self._sealer.packet(self.established.send, self._word, number, frames.encode_close(code.value, reason))
        return Datagrams(self.path.address, data, len(data))

    # --- packets in ---

    def receive(self, view: memoryview, size: int, address: Address, now: float) -> int:
        """Take datagrams as long as they are of this session; return how many bytes that was.

        The first must be. Raises PeerError when an authentic one breaks the protocol.
        """
        opened = self._opener.open(view, size, self.word_in, self.established.receive, self._received)
        if opened.run or opened.others:
            self.proven = True
            newest, self._probes = self._received.largest, 0
            self._read_run(opened, address, now)
            for number, plain in opened.others:
                self._received.add(number, 1, self._read(plain, address, now), now, self._recovery.min_rtt)
            self._heard(address, self._received.largest > newest, len(opened.run) + len(opened.others), now)
        return opened.read

    def _heard(self, address: Address, newest: bool, packets: int, now: float) -> None:
        """Note where packets came from; only the newest tell where the peer is."""
        path = self.path
        if address == path.address:
            silence = now - self.life.heard
            if silence >= path.keepalive.seconds:
                path.keepalive.held()
            path.heard = now
            if newest:
                self.paths.newest = address
        elif newest:
            self.paths.heard(address, now, probe=self._probes == packets)
        self.life.hear(now)
        if self.paths.active is not path:
            self._switch(now)

    def _read_run(self, opened: Opened, address: Address, now: float) -> None:
        """Act on packets that came in order; neighbouring pieces of a transfer are stored at once."""
        run, count, eliciting, at = opened.run, len(opened.run), 0, 0
        unpack = frames.PIECE_HEADER.unpack_from
        while at < count:
            plain, piece = run[at]
            if plain[0] != frames.PIECE or not piece:
                eliciting += self._read(plain, address, now)
                at += 1
                continue
            begin, (word, offset) = at, unpack(plain)
            step, following = len(piece), offset
            while at < count and unpack(run[at][0]) == (word, following):
                following += step
                at += 1
            self._store(word, offset, [piece for _, piece in run[begin:at]])
            eliciting += at - begin
        if count:
            self._received.add(opened.first, count, eliciting, now, self._recovery.min_rtt)

    def _read(self, plain: memoryview, address: Address, now: float) -> int:
        """Act on one packet; return 1 if it wants an acknowledgement, else 0."""
        if plain[0] == frames.PIECE and len(plain) > frames.PIECE_HEADER_SIZE:
            word, offset = frames.PIECE_HEADER.unpack_from(plain)
            self._store(word, offset, [plain[frames.PIECE_HEADER_SIZE :]])
            return 1
        return int(self._read_frames(bytes(plain), address, now))

    def _store(self, word: int, offset: int, run: list[memoryview]) -> None:
        name = word & (frames.MAX_TRANSFER - 1)
        transfer = self.receiving.get(name)
        if run and transfer is not None:
            transfer.receive(offset, run)
            self.touched.add(name)

    def _read_frames(self, plain: bytes, address: Address, now: float) -> bool:
        eliciting = False
        for frame in frames.parse(plain):
            match frame:
                case frames.Ack():
                    self._recovery.acknowledged(frame, now)
                    continue
                case frames.Control(offset, data):
                    self._messages.extend(self._control_in.receive(offset, data))
                case frames.Close(code, reason):
                    self.closed = (CloseCode(min(code, CloseCode.BROKEN.value)), reason)
                case frames.PathChallenge(data):
                    self.paths.challenged(address, data, len(plain) + OVERHEAD)
                    self._probes += 1
                    continue
                case frames.PathResponse(data):
                    self.paths.responded(address, data, now)
                    self._probes += 1
                    continue
                case frames.Ping():
                    pass
            eliciting = True
        return eliciting

    # --- packets out ---

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """Return what may leave now: control packets first, then at most one batch of a transfer."""
        out = []
        while (packet := self._control_packet(now)) is not None:
            out.append(packet)
        batch = self._batch(now)
        if batch is not None:
            out.append(batch)
        return out

    def _control_packet(self, now: float) -> Datagrams | None:
        if (probe := self._probe(now)) is not None:
            return probe
        if (size := self.path.mtu.take_probe(now)) is not None:
            plain = frames.encode_ping().ljust(size - OVERHEAD, b"\0")
            return self._seal(plain, MtuProbe(self.path.mtu, size), self.path.address, now)
        probing = self._recovery.probes > 0
        has_room = probing or self._recovery.room() >= self.path.mtu.size
        says = self.control.waiting() and has_room
        pings = self._ping or (probing and not says and not self._has_pieces())
        due = self._received.deadline is not None and self._received.deadline <= now
        if not (says or pings or due):
            return None
        plain = b""
        if self._received.deadline is not None:
            plain = frames.encode_ack(*self._received.acknowledge(now))
        if not (says or pings):
            return self._seal(plain, None, self.path.address, now)
        if pings:
            self._ping = False
            plain += frames.encode_ping()
        if not says:
            return self._seal(plain, NOTHING, self.path.address, now)
        room = self.path.mtu.size - OVERHEAD - len(plain) - frames.CONTROL_HEADER_SIZE
        offset, data = self.control.take(room)
        content = ControlBytes(self.control, offset, offset + len(data))
        return self._seal(plain + frames.encode_control(offset, data), content, self.path.address, now)

    def _probe(self, now: float) -> Datagrams | None:
        """Return a response or challenge that is due. Neither is acknowledged, tracked, or counted as in flight."""
        if (answer := self.paths.take_response()) is not None:
            address, data, size = answer
            return self._seal(frames.encode_path(frames.PATH_RESPONSE, data, size - OVERHEAD), None, address, now)
        challenge = self.paths.take_challenge(now)
        if self.paths.active is not self.path:
            self._switch(now)
        if challenge is None:
            return None
        address, data = challenge
        plain = frames.encode_path(frames.PATH_CHALLENGE, data, SMALLEST_DATAGRAM - OVERHEAD)
        return self._seal(plain, None, address, now)

    def _seal(self, plain: bytes, content: Content | None, address: Address, now: float) -> Datagrams:
        number = self._recovery.allocate(1)
        data = self._sealer.packet(self.established.send, self._word, number, plain)
        if content is not None:
            self._recovery.sent(number, 1, len(data), content, now)
        return Datagrams(address, data, len(data))

    def _has_pieces(self) -> bool:
        return any(transfer.waiting() for transfer in self.sending.values())

    def _batch(self, now: float) -> Datagrams | None:
        """Seal a batch of the transfer whose turn it is, as far as window and pacing allow."""
        self._pacer.next_at = None
        name = next((name for name, transfer in self.sending.items() if transfer.waiting()), None)
        recovery, size = self._recovery, self.path.mtu.size
        recovery.controller.datagram_size = self._pacer.datagram_size = size
        if name is None and recovery.bytes_lost:
            # nothing else is to be sent: the end goes twice, for a loss in the last round trip would cost one more
            twice = recovery.in_flight // 2
            name = next((name for name, transfer in self.sending.items() if transfer.repeat(twice)), None)
        if name is None:
            recovery.controller.on_app_limited(recovery.in_flight)
            return None
        most = recovery.probes or self._pacer.allowance(now, recovery.room(), recovery.controller, batch_limit(size))
        if most < 1:
            return None
        transfer = self.sending.pop(name)
        self.sending[name] = transfer  # to the end of the queue: transfers take turns
        first = recovery.allocate(0)
        most = min(most, EPOCH - first % EPOCH)
        batch = self._sealer.pieces(self.established.send, self._word, first, size, name, transfer, most)
        recovery.allocate(batch.packets)
        content = Pieces(transfer, batch.offset, batch.offset + batch.length, size - PIECE_OVERHEAD)
        recovery.sent(first, batch.packets, size, content, now)
        self._pacer.spent(len(batch.data))
        self.life.needed = now
        return Datagrams(self.path.address, batch.data, size)

    # --- timers ---

    def timeout(self) -> float:
        """Return when `handle_timeout` must be called at the latest."""
        interval = self.path.keepalive.seconds
        times = [self.life.ask_at(self._fetches(), interval), self.life.gone_at(interval), self.life.idle_at()]
        paths, mtu = self.paths.timeout(), self.path.mtu.timeout()
        for time in (self._received.deadline, self._recovery.timeout(), self._pacer.next_at, paths, mtu):
            if time is not None:
                times.append(time)
        return min(times)

    def doubt(self, now: float) -> None:
        """Ask whether the peer is there, and do not wait long for an answer: somebody says that it is gone."""
        self._ping = True
        self.life.doubt(now)

    def _fetches(self) -> bool:
        return any(not transfer.complete for transfer in self.receiving.values())

    def handle_timeout(self, now: float) -> None:
        """Act on what is due: losses, probes, the question whether the peer is there, and the end."""
        self._handle_losses(now)
        if (report := self.paths.take_report(now)) is not None:
            self.control.queue(report)
        interval = self.path.keepalive.seconds
        if self._recovery.timeouts >= BLACK_HOLE_TIMEOUTS and self.path.mtu.size > SMALLEST_DATAGRAM:
            self.path.mtu.black_hole(now)
        if now >= self.life.gone_at(interval):
            self.closed = (CloseCode.LOST, "")
        elif now >= self.life.idle_at():
            self.closed = (CloseCode.DONE, "")
        elif now >= self.life.ask_at(self._fetches(), interval):
            self._ping = True
            if self.life.asked_in_vain(now, 3 * self._recovery.smoothed_rtt):
                self.paths.silent(now)  # each question puts off the probe timeout that would see to it
                self._switch(now)
            self.life.ask(now)

    def _handle_losses(self, now: float) -> None:
        """Let recovery look at what is overdue; a path on which nothing is acknowledged any more is left."""
        recovery, oldest = self._recovery, self._recovery.oldest()
        before = recovery.timeouts
        recovery.handle_timeout(now)
        if recovery.timeouts <= before or oldest is None:
            return
        self.life.ask(now)
        path = self.path
        quiet = now - path.heard > max(QUIET, 2 * recovery.smoothed_rtt)
        if recovery.timeouts >= (TIMEOUTS if quiet else TIMEOUTS_HEARD):
            if self.paths.silent(now) and oldest - path.heard >= path.keepalive.seconds:
                path.keepalive.broke()
            self._switch(now)

    # --- paths ---

    def _switch(self, now: float) -> None:
        """Send by the path that `paths` has chosen. What a NAT's new port changes is the address alone."""
        left, path = self.path, self.paths.active
        if path is left:
            return
        self.path, self.path_changed, self._ping = path, True, True
        if path.address[0] == left.address[0] and not path.relayed:
            path.mtu = left.mtu
            return
        path.begin_mtu(now)
        self._recovery.moved(now, path.rtt, dead=not left.works(now))

    def drop_path(self, address: Address, now: float) -> None:
        """Learn that there is no such way to the peer any more."""
        self.paths.drop(address, now)
        self._switch(now)

    def stand(self, ours: Standing, theirs: Standing, mapped: bool, now: float) -> None:
        """Learn how both sides stand towards the internet: it decides of which kind paths are, and what is tried."""
        kind = self.path.kind
        self.paths.stand(ours, theirs, mapped, now)
        self.path_changed |= self.path.kind is not kind
        self._switch(now)
