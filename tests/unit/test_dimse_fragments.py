"""Messages as PDUs, held against those that pynetdicom makes."""

from __future__ import annotations

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_FIND_RSP
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from gateway.dimse.fragments import fragmented


@pytest.mark.parametrize("longest", [0, 7, 64, 100, 16_382])
@pytest.mark.parametrize("identifier", [b"", b"ab", b"x" * 58, b"y" * 300])
def test_a_message_is_cut_as_the_library_cuts_it(longest: int, identifier: bytes) -> None:
    """Byte for byte, for whatever a peer takes, where a fragment is full to the last byte too."""
    response = C_FIND()
    response.MessageIDBeingRespondedTo = 7
    response.AffectedSOPClassUID = StudyRootQueryRetrieveInformationModelFind
    response.Status = 0xFF00
    response.Identifier = BytesIO(identifier)
    message = C_FIND_RSP()
    message.primitive_to_message(response)
    command = encode(message.command_set, True, True)  # noqa: FBT003 - little endian, as PS3.7 section 6.3.1 has it
    assert command is not None
    expected = b""
    for primitive in message.encode_msg(5, longest):
        pdu = P_DATA_TF()
        pdu.from_primitive(primitive)
        expected += pdu.encode()
    assert fragmented(5, command, identifier, longest) == expected
