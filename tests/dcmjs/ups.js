// A performer of workitems by dcmjs-dimse: finds, subscribes, claims, reports progress, completes; and hears of it all.
// node ups.js FOLDER HOST PORT RECEIVER_PORT tells what was answered and heard, as one line of JSON.
'use strict';
const dimse = require(`${process.argv[2]}/node_modules/dcmjs-dimse`);
const [host, port, ownPort] = [process.argv[3], Number(process.argv[4]), Number(process.argv[5])];
const { CFindRequest, NActionRequest, NCreateRequest, NGetRequest, NSetRequest } = dimse.requests;
const { NEventReportResponse } = dimse.responses;
const { Client, Dataset, Scp, Server } = dimse;
const { PresentationContextResult, Status, TransferSyntax } = dimse.constants;
dimse.log.setLevel('silent');

const [PUSH, WATCH, PULL, EVENT, QUERY] = [1, 2, 3, 4, 5].map((n) => `1.2.840.10008.5.1.4.34.6.${n}`);
const TRANSACTION = '1.2.826.0.1.3680043.9.1';
const told = { statuses: {}, found: [], heard: [], contexts: [] };
const heardEnough = new Promise((resolve) => (told.enough = resolve));

class Receiver extends Scp {
  associationRequested(association) {
    for (const { id } of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      told.contexts.push(context.getAbstractSyntaxUid());
      const isEvent = context.getAbstractSyntaxUid() === EVENT;
      context.setResult(
        isEvent ? PresentationContextResult.Accept : PresentationContextResult.RejectAbstractSyntaxNotSupported,
        isEvent ? TransferSyntax.ImplicitVRLittleEndian : undefined
      );
    }
    this.sendAssociationAccept();
  }
  nEventReportRequest(request, callback) {
    told.heard.push([
      request.getAffectedSopInstanceUid(),
      request.getEventTypeId(),
      request.getDataset().getElement('ProcedureStepState') || '',
    ]);
    const response = NEventReportResponse.fromRequest(request);
    response.setStatus(Status.Success);
    callback(response);
    if (told.heard.length === 4) told.enough();
  }
  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

function ask(name, request, elements, hear = () => {}) {
  return new Promise((resolve, reject) => {
    if (elements) request.setDataset(new Dataset(elements));
    request.on('response', (response) => {
      if (response.getStatus() === Status.Pending) return hear(response.getDataset());
      told.statuses[name] = response.getStatus();
      if (response.hasDataset()) hear(response.getDataset());
    });
    const client = new Client();
    client.addRequest(request);
    client.on('closed', resolve);
    client.on('networkError', reject);
    client.send(host, port, 'STATION', 'FIRSTREAD');
  });
}

async function main() {
  const server = new Server(Receiver);
  server.listen(ownPort);
  const find = new CFindRequest();
  find.setAffectedSopClassUid(QUERY);
  await ask('find', find, { ProcedureStepState: 'SCHEDULED', ScheduledProcedureStepPriority: '', PatientName: '' },
    (found) => told.found.push([found.getElement('SOPInstanceUID'), found.getElement('ScheduledProcedureStepPriority')]));
  const uid = told.found[0][0];
  await ask('subscribe', new NActionRequest(PUSH, uid, 3, WATCH), { ReceivingAE: 'RECEIVER', DeletionLock: 'FALSE' });
  const state = (wanted) => ({ ProcedureStepState: wanted, TransactionUID: TRANSACTION });
  await ask('claim', new NActionRequest(PUSH, uid, 1, PULL), state('IN PROGRESS'));
  const progress = [{ ProcedureStepProgress: '50' }];
  await ask('update', new NSetRequest(PUSH, uid, PULL),
    { TransactionUID: TRANSACTION, ProcedureStepProgressInformationSequence: progress });
  await ask('complete', new NActionRequest(PUSH, uid, 1, PULL), state('COMPLETED'));
  await ask('get', new NGetRequest(PUSH, uid, ['00741000'], PULL), null,
    (dataset) => (told.state = dataset.getElement('ProcedureStepState')));
  await ask('again', new NActionRequest(PUSH, uid, 1, PULL), state('IN PROGRESS'));
  await heardEnough;
  server.close();
  delete told.enough;
  console.log(JSON.stringify(told));
  process.exit(0);
}
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
