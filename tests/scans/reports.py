"""DICOM structured reports after TID 1500, written with pydicom alone, as a product would send them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, generate_uid

PROBABILITY = ("111047", "DCM", "Probability of cancer")
FINDING = ("121071", "DCM", "Finding")
Code = tuple[str, str, str]


def code(value: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value
    return item


def content(kind: str, name: Code, relation: str = "CONTAINS", children: Sequence[Dataset] = ()) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    item.ConceptNameCodeSequence = [code(name)]
    if children:
        item.ContentSequence = list(children)
    return item


def number(name: Code, value: object, unit: Code = ("1", "UCUM", "no units"), why: Code | None = None) -> Dataset:
    item = content("NUM", name)
    item.MeasuredValueSequence = []
    if value is not None:
        measured = Dataset()
        measured.NumericValue = str(value)
        measured.MeasurementUnitsCodeSequence = [code(unit)]
        item.MeasuredValueSequence = [measured]
    if why is not None:
        item.NumericValueQualifierCodeSequence = [code(why)]
    return item


def coded(name: Code, value: Code, relation: str = "CONTAINS") -> Dataset:
    item = content("CODE", name, relation)
    item.ConceptCodeSequence = [code(value)]
    return item


def text(name: Code, value: str) -> Dataset:
    item = content("TEXT", name, "HAS CONCEPT MOD")
    item.TextValue = value
    return item


def group(*children: Dataset) -> Dataset:
    return content("CONTAINER", ("125007", "DCM", "Measurement Group"), children=children)


def algorithm(version: str) -> list[Dataset]:
    return [text(("111001", "DCM", "Algorithm Name"), "Lung"), text(("111003", "DCM", "Algorithm Version"), version)]


def write_report(
    path: Path,
    groups: Sequence[Dataset],
    *,
    series: Sequence[str],
    study: str,
    accession: str = "",
    patient: str = "p",
    uid: str = "",
    replaces: str = "",
    beside: Sequence[Dataset] = (),
) -> None:
    """A Comprehensive 3D SR: measurement groups under Imaging Measurements, further items under the root."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = Comprehensive3DSRStorage, uid or generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = study, generate_uid()
    data.Modality, data.PatientID, data.StudyDate, data.AccessionNumber = "SR", patient, "20260302", accession
    data.PatientSex, data.PatientAge = "F", "063Y"
    data.ValueType = "CONTAINER"
    data.ConceptNameCodeSequence = [code(("126000", "DCM", "Imaging Measurement Report"))]
    measurements = content("CONTAINER", ("126010", "DCM", "Imaging Measurements"), children=groups)
    data.ContentSequence = [measurements, *beside]
    evidence = Dataset()
    evidence.StudyInstanceUID = study
    evidence.ReferencedSeriesSequence = []
    for name in series:
        one = Dataset()
        one.SeriesInstanceUID = name
        evidence.ReferencedSeriesSequence.append(one)
    data.CurrentRequestedProcedureEvidenceSequence = [evidence]
    if replaces:
        old, of = Dataset(), Dataset()
        old.ReferencedSOPInstanceUID = replaces
        of.ReferencedSOPSequence = [old]
        before = Dataset()
        before.ReferencedSeriesSequence = [of]
        data.PredecessorDocumentsSequence = [before]
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
