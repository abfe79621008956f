"""JUnit XML with one test case for each objective."""

from typing import Any
from xml.etree import ElementTree as ET


def junit(document: dict[str, Any]) -> str:
    """The XML: a failure for each broken objective, and one error with the reasons of an invalid measurement."""
    checks, invalid_reasons = document["checks"], document["invalid_reasons"]
    suite = ET.Element(
        "testsuite",
        name=f"onnxpress loadtest {document['suite']}",
        tests=str(len(checks) + 1),
        failures=str(sum(not check["held"] for check in checks)),
        errors=str(int(bool(invalid_reasons))),
        timestamp=document["finished_at"].removesuffix("+00:00"),
        time=f"{sum(phase['seconds'] for phase in document['phases']):.3f}",
    )
    for check in checks:
        case = ET.SubElement(suite, "testcase", classname=f"{document['suite']}.{check['where']}", name=check["name"])
        said = f"{check['measured']:.6g} {check['unit']}, expected {check['relation']} {check['limit']:g}"
        if check["held"]:
            ET.SubElement(case, "system-out").text = said
        else:
            ET.SubElement(case, "failure", message=said)
    case = ET.SubElement(suite, "testcase", classname=document["suite"], name="the measurement is valid")
    if invalid_reasons:
        ET.SubElement(case, "error", message="; ".join(invalid_reasons))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"
