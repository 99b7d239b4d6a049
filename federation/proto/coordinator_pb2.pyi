from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetLogRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLogResponse(_message.Message):
    __slots__ = ("log",)
    LOG_FIELD_NUMBER: _ClassVar[int]
    log: bytes
    def __init__(self, log: _Optional[bytes] = ...) -> None: ...

class ListReleasesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReleaseSummary(_message.Message):
    __slots__ = ("number", "parent", "weights_sha256", "created_at")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    number: int
    parent: int
    weights_sha256: str
    created_at: int
    def __init__(self, number: _Optional[int] = ..., parent: _Optional[int] = ..., weights_sha256: _Optional[str] = ..., created_at: _Optional[int] = ...) -> None: ...

class ListReleasesResponse(_message.Message):
    __slots__ = ("federation", "releases")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    federation: str
    releases: _containers.RepeatedCompositeFieldContainer[ReleaseSummary]
    def __init__(self, federation: _Optional[str] = ..., releases: _Optional[_Iterable[_Union[ReleaseSummary, _Mapping]]] = ...) -> None: ...

class GetManifestRequest(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class GetManifestResponse(_message.Message):
    __slots__ = ("number", "manifest", "signature")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    number: int
    manifest: bytes
    signature: bytes
    def __init__(self, number: _Optional[int] = ..., manifest: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class DownloadRequest(_message.Message):
    __slots__ = ("number", "file", "offset")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    number: int
    file: str
    offset: int
    def __init__(self, number: _Optional[int] = ..., file: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("join_request",)
    JOIN_REQUEST_FIELD_NUMBER: _ClassVar[int]
    join_request: bytes
    def __init__(self, join_request: _Optional[bytes] = ...) -> None: ...

class GetStandingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Standing(_message.Message):
    __slots__ = ("state",)
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Standing.State]
        WAITING: _ClassVar[Standing.State]
        ADMITTED: _ClassVar[Standing.State]
        REVOKED: _ClassVar[Standing.State]
    UNKNOWN: Standing.State
    WAITING: Standing.State
    ADMITTED: Standing.State
    REVOKED: Standing.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: Standing.State
    def __init__(self, state: _Optional[_Union[Standing.State, str]] = ...) -> None: ...

class GetKitRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetKitResponse(_message.Message):
    __slots__ = ("kit",)
    KIT_FIELD_NUMBER: _ClassVar[int]
    kit: bytes
    def __init__(self, kit: _Optional[bytes] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ("campaign",)
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    campaign: str
    def __init__(self, campaign: _Optional[str] = ...) -> None: ...

class RoundStatus(_message.Message):
    __slots__ = ("campaign", "state", "rounds_planned", "server_round", "phase", "named", "returned", "quorum", "deadline_at", "standing")
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_PLANNED_FIELD_NUMBER: _ClassVar[int]
    SERVER_ROUND_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_AT_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    campaign: str
    state: str
    rounds_planned: int
    server_round: int
    phase: str
    named: int
    returned: int
    quorum: int
    deadline_at: float
    standing: str
    def __init__(self, campaign: _Optional[str] = ..., state: _Optional[str] = ..., rounds_planned: _Optional[int] = ..., server_round: _Optional[int] = ..., phase: _Optional[str] = ..., named: _Optional[int] = ..., returned: _Optional[int] = ..., quorum: _Optional[int] = ..., deadline_at: _Optional[float] = ..., standing: _Optional[str] = ...) -> None: ...
