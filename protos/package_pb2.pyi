import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_UNSPECIFIED: _ClassVar[Task]
    CLASSIFIER: _ClassVar[Task]
    REGRESSOR: _ClassVar[Task]
    RANKER: _ClassVar[Task]

class Layout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAYOUT_UNSPECIFIED: _ClassVar[Layout]
    MATRIX: _ClassVar[Layout]
    COLUMNS: _ClassVar[Layout]
TASK_UNSPECIFIED: Task
CLASSIFIER: Task
REGRESSOR: Task
RANKER: Task
LAYOUT_UNSPECIFIED: Layout
MATRIX: Layout
COLUMNS: Layout

class Manifest(_message.Message):
    __slots__ = ("format", "name", "version", "created_at", "source", "task", "layout", "inputs", "outputs", "features", "classes", "label_datatype", "opsets", "ir_version", "files", "libraries", "trees", "nodes", "exact_datatype", "notes")
    class OpsetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: File
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[File, _Mapping]] = ...) -> None: ...
    class LibrariesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    LABEL_DATATYPE_FIELD_NUMBER: _ClassVar[int]
    OPSETS_FIELD_NUMBER: _ClassVar[int]
    IR_VERSION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    LIBRARIES_FIELD_NUMBER: _ClassVar[int]
    TREES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    EXACT_DATATYPE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    format: int
    name: str
    version: int
    created_at: _timestamp_pb2.Timestamp
    source: Source
    task: Task
    layout: Layout
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    classes: _containers.RepeatedScalarFieldContainer[str]
    label_datatype: str
    opsets: _containers.ScalarMap[str, int]
    ir_version: int
    files: _containers.MessageMap[str, File]
    libraries: _containers.ScalarMap[str, str]
    trees: int
    nodes: int
    exact_datatype: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, format: _Optional[int] = ..., name: _Optional[str] = ..., version: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[_Union[Source, _Mapping]] = ..., task: _Optional[_Union[Task, str]] = ..., layout: _Optional[_Union[Layout, str]] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., classes: _Optional[_Iterable[str]] = ..., label_datatype: _Optional[str] = ..., opsets: _Optional[_Mapping[str, int]] = ..., ir_version: _Optional[int] = ..., files: _Optional[_Mapping[str, File]] = ..., libraries: _Optional[_Mapping[str, str]] = ..., trees: _Optional[int] = ..., nodes: _Optional[int] = ..., exact_datatype: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("framework", "estimator", "digest")
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    ESTIMATOR_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    framework: str
    estimator: str
    digest: str
    def __init__(self, framework: _Optional[str] = ..., estimator: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("name", "datatype", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "datatype", "accepts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    accepts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., accepts: _Optional[_Iterable[str]] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("sha256", "bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    bytes: int
    def __init__(self, sha256: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("rows", "features", "outputs")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    features: _containers.RepeatedCompositeFieldContainer[FeatureProfile]
    outputs: _containers.RepeatedCompositeFieldContainer[FeatureProfile]
    def __init__(self, rows: _Optional[int] = ..., features: _Optional[_Iterable[_Union[FeatureProfile, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[FeatureProfile, _Mapping]]] = ...) -> None: ...

class FeatureProfile(_message.Message):
    __slots__ = ("name", "datatype", "missing_rate", "constant", "numeric", "categories")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    MISSING_RATE_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    NUMERIC_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    missing_rate: float
    constant: bool
    numeric: NumericProfile
    categories: CategoryProfile
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., missing_rate: _Optional[float] = ..., constant: bool = ..., numeric: _Optional[_Union[NumericProfile, _Mapping]] = ..., categories: _Optional[_Union[CategoryProfile, _Mapping]] = ...) -> None: ...

class NumericProfile(_message.Message):
    __slots__ = ("min", "max", "mean", "std", "p001", "p999", "integral", "edges", "counts")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    P001_FIELD_NUMBER: _ClassVar[int]
    P999_FIELD_NUMBER: _ClassVar[int]
    INTEGRAL_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    min: float
    max: float
    mean: float
    std: float
    p001: float
    p999: float
    integral: bool
    edges: _containers.RepeatedScalarFieldContainer[float]
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, min: _Optional[float] = ..., max: _Optional[float] = ..., mean: _Optional[float] = ..., std: _Optional[float] = ..., p001: _Optional[float] = ..., p999: _Optional[float] = ..., integral: bool = ..., edges: _Optional[_Iterable[float]] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class CategoryProfile(_message.Message):
    __slots__ = ("top", "other", "distinct")
    TOP_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_FIELD_NUMBER: _ClassVar[int]
    top: _containers.RepeatedCompositeFieldContainer[Category]
    other: int
    distinct: int
    def __init__(self, top: _Optional[_Iterable[_Union[Category, _Mapping]]] = ..., other: _Optional[int] = ..., distinct: _Optional[int] = ...) -> None: ...

class Category(_message.Message):
    __slots__ = ("value", "count")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    value: str
    count: int
    def __init__(self, value: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ParityReport(_message.Message):
    __slots__ = ("exact", "generators", "libraries", "sampled", "seconds", "forest")
    class LibrariesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EXACT_FIELD_NUMBER: _ClassVar[int]
    GENERATORS_FIELD_NUMBER: _ClassVar[int]
    LIBRARIES_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    FOREST_FIELD_NUMBER: _ClassVar[int]
    exact: bool
    generators: _containers.RepeatedCompositeFieldContainer[GeneratorReport]
    libraries: _containers.ScalarMap[str, str]
    sampled: _containers.RepeatedScalarFieldContainer[str]
    seconds: float
    forest: ForestReport
    def __init__(self, exact: bool = ..., generators: _Optional[_Iterable[_Union[GeneratorReport, _Mapping]]] = ..., libraries: _Optional[_Mapping[str, str]] = ..., sampled: _Optional[_Iterable[str]] = ..., seconds: _Optional[float] = ..., forest: _Optional[_Union[ForestReport, _Mapping]] = ...) -> None: ...

class ForestReport(_message.Message):
    __slots__ = ("rows", "reason", "difference")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    rows: int
    reason: str
    difference: str
    def __init__(self, rows: _Optional[int] = ..., reason: _Optional[str] = ..., difference: _Optional[str] = ...) -> None: ...

class GeneratorReport(_message.Message):
    __slots__ = ("generator", "description", "rows", "outside", "worst_difference", "worst_tolerance", "worst")
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_FIELD_NUMBER: _ClassVar[int]
    WORST_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    WORST_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    WORST_FIELD_NUMBER: _ClassVar[int]
    generator: str
    description: str
    rows: int
    outside: int
    worst_difference: float
    worst_tolerance: float
    worst: _containers.RepeatedCompositeFieldContainer[WorstRow]
    def __init__(self, generator: _Optional[str] = ..., description: _Optional[str] = ..., rows: _Optional[int] = ..., outside: _Optional[int] = ..., worst_difference: _Optional[float] = ..., worst_tolerance: _Optional[float] = ..., worst: _Optional[_Iterable[_Union[WorstRow, _Mapping]]] = ...) -> None: ...

class WorstRow(_message.Message):
    __slots__ = ("inputs", "output", "original", "compiled", "tolerance")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_FIELD_NUMBER: _ClassVar[int]
    COMPILED_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.ScalarMap[str, str]
    output: str
    original: _containers.RepeatedScalarFieldContainer[str]
    compiled: _containers.RepeatedScalarFieldContainer[str]
    tolerance: float
    def __init__(self, inputs: _Optional[_Mapping[str, str]] = ..., output: _Optional[str] = ..., original: _Optional[_Iterable[str]] = ..., compiled: _Optional[_Iterable[str]] = ..., tolerance: _Optional[float] = ...) -> None: ...
