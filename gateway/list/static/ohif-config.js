// OHIF's configuration under this gateway: one data source, the reading list's order, nothing from elsewhere, no
// questions in the way.
// It works at any host and port, since every address is relative to the page's own.
// All of it goes through hooks that OHIF documents; if one of them is gone in another version, OHIF's own way returns.

// ---- Boxes of the AI findings bear the finding's name, no statistics ----

const fromFirstread = displaySet => displaySet.instance?.Manufacturer === 'Firstread';

/** As boxes become measurements: the SR's own words (its Tracking Identifier) go with each, marked as the AI's. */
function keepWords({ storedMeasurementByAnnotationType: drawn, displaySet }) {
  if (!fromFirstread(displaySet)) return drawn;
  const words = new Map(displaySet.measurements.map(each => [each.TrackingUniqueIdentifier, each.TrackingIdentifier]));
  for (const { TrackingUniqueIdentifier, annotation } of Object.values(drawn).flat()) {
    const said = words.get(TrackingUniqueIdentifier) ?? 'AI finding';
    annotation.data.aiWords = annotation.data.label = said.startsWith('AI') ? said : `AI: ${said}`;
  }
  return drawn;
}

/** After OHIF has set its tools up: a box of the AI is drawn with its words, a reader's own with its statistics. */
function drawWords({ toolGroupService }) {
  for (const group of toolGroupService.getToolGroupIds()) {
    const tools = toolGroupService.getToolGroup(group);
    if (!tools.hasTool('RectangleROI')) continue;
    const statistics = tools.getToolInstance('RectangleROI').configuration.getTextLines;
    const getTextLines = (data, targets) => (data.aiWords ? [data.aiWords] : statistics(data, targets));
    tools.setToolConfiguration('RectangleROI', { getTextLines });
  }
}

/** In the list of measurements: what a box of the AI is, where OHIF tells area and greys. */
function listWords({ measurementService }) {
  const boxes = new Set();
  const { RAW_MEASUREMENT_ADDED, MEASUREMENT_UPDATED } = measurementService.EVENTS;
  for (const event of [RAW_MEASUREMENT_ADDED, MEASUREMENT_UPDATED]) {
    measurementService.subscribe(event, ({ measurement, data }) => {
      if (data?.annotation?.data?.aiWords) boxes.add(measurement.uid);
      if (boxes.has(measurement.uid)) measurement.displayText = { primary: ['AI, not a diagnosis'], secondary: [] };
    });
  }
}

// ---- Two studies hang side by side ----

const imagesOf = study => ({
  studyMatchingRules: [
    { attribute: 'studyInstanceUIDsIndex', from: 'options', required: true, constraint: { equals: { value: study } } },
  ],
  seriesMatchingRules: [
    { attribute: 'numImageFrames', required: true, constraint: { greaterThan: { value: 0 } } },
    { attribute: 'isDisplaySetFromUrl', weight: 20, constraint: { equals: true } },
  ],
});
const viewport = displaySet => ({
  viewportOptions: { viewportType: 'stack', toolGroupId: 'default', allowUnmatchedView: true },
  displaySets: [{ id: displaySet }],
});

/** The first study of the address left, the second right; of each its first series with images, which is the film. */
const sideBySide = {
  id: 'firstread.sideBySide',
  name: 'With a prior',
  numberOfPriorsReferenced: 1,
  protocolMatchingRules: [
    { attribute: 'StudyInstanceUID', from: 'prior', required: true, weight: 1000, constraint: { notNull: true } },
  ],
  toolGroupIds: ['default'],
  displaySetSelectors: { first: imagesOf(0), second: imagesOf(1) },
  defaultViewport: viewport('first'),
  stages: [
    {
      name: 'Side by side',
      viewportStructure: { layoutType: 'grid', properties: { rows: 1, columns: 2 } },
      viewports: [viewport('first'), viewport('second')],
    },
  ],
};

// ---- The reading list in OHIF's study list, and the bar under a study ----

const listModule = import('/static/ohif-list.js');
const barModule = import('/static/ohif-bar.js');
const isList = () => /^\/viewer\/?$/.test(window.location.pathname);
const inPlace = [{ id: 'place', desc: false }];
const byDate = [{ id: 'studyDateTime', desc: true }]; // what OHIF sorts by where nobody has chosen anything

let react; // OHIF's own, which it hands to whatever draws at its head
let revision = 5000;

/** OHIF asks again when its filters have changed, of which this one is, and looks at them at each step in its history. */
function askAgain() {
  if (!isList()) return; // on its way to a study
  revision += 1;
  window.history.replaceState({ ...window.history.state, key: `firstread${revision}` }, '');
  window.dispatchEvent(new PopStateEvent('popstate', { state: window.history.state }));
}

/** The DICOMweb data source of OHIF, in which a search for studies tells of the reading list. */
function withReadingList(configuration, servicesManager, extensionManager) {
  const dicomweb = extensionManager.getModuleEntry('@ohif/extension-default.dataSourcesModule.dicomweb');
  const source = dicomweb.createDataSource(configuration, servicesManager, extensionManager);
  const search = async asked => (await listModule).search(source, asked);
  return {
    ...source,
    getConfig: () => ({ ...source.getConfig(), queryLimit: revision }),
    query: { ...source.query, studies: { ...source.query.studies, search } },
  };
}

const COLORS = { critical: '#ff8a80', urgent: '#ffcc80' };

/** Columns of the list before OHIF's own, in whose heads they are drawn. */
function withColumns(columns) {
  const column = (id, label, minWidth, priority, more = {}) => ({
    id,
    accessorFn: row => row[id] ?? '',
    header: columns[0].header,
    cell: ({ row: { original } }) => {
      const style = id === 'flag' ? { color: COLORS[original.urgency] } : undefined;
      const said = original[id] ?? '';
      return react.createElement('div', { className: 'truncate', title: said, style }, said);
    },
    meta: { label, minWidth, priority, headerClassName: `min-w-[${minWidth}px]`, cellClassName: `min-w-[${minWidth}px]` },
    ...more,
  });
  const by = field => ({ sortingFn: (a, b) => a.original[field] - b.original[field] });
  const unfiltered = { filterFn: () => true }; // OHIF draws a field for a filter above every column
  const place = column('place', 'Place', 80, 120, {
    ...by('order'),
    ...unfiltered,
    header: function Place({ column: own, table }) {
      react.useEffect(() => {
        const { sorting } = table.getState();
        const isChosen = /sortby=/i.test(window.location.search);
        if (!isChosen && JSON.stringify(sorting) === JSON.stringify(byDate)) table.setSorting(inPlace);
      }, [table]);
      return columns[0].header({ column: own, table });
    },
  });
  return [
    place,
    column('flag', 'AI flag', 175, 115),
    ...columns.filter(({ id }) => id === 'patient'),
    column('reason', 'Reason for its place', 220, 95),
    column('state', 'State', 150, 105),
    column('waiting', 'Waiting', 100, 110, { ...by('waitingSince'), ...unfiltered }),
    ...columns.filter(({ id }) => id !== 'patient'),
  ];
}

/** A double click opens the study, and beside it the earlier one with which it was compared. */
async function openStudy({ study }) {
  const uids = (await listModule).filmsOf(study).map(encodeURIComponent).join(',');
  window.location.assign(`/viewer/viewer?StudyInstanceUIDs=${uids}`);
}

// ---- The head ----

function Head() {
  const [status, setStatus] = react.useState('');
  const { href } = window.location;
  react.useEffect(() => {
    const isOver = { now: false };
    const is = isList();
    listModule.then(list => isOver.now || list.show(is ? askAgain : null, is ? setStatus : undefined));
    barModule.then(bar => isOver.now || bar.show(is ? '' : href));
    return () => (isOver.now = true);
  }, [href.replace(/[?].*/, '') + new URLSearchParams(window.location.search).get('StudyInstanceUIDs')]);
  const { createElement } = react;
  const stay = event => event.stopPropagation(); // a click beside it leads to OHIF's own list
  const back = createElement('a', { href: '/', onClick: stay, className: 'text-primary px-2 text-base' }, '\u2190 Reading list');
  const warning = createElement('span', { className: 'text-muted-foreground text-xs' }, 'AI: not a diagnosis');
  const said = createElement('span', { className: 'text-muted-foreground px-2 text-xs', role: 'status' }, status);
  return createElement('div', { className: 'flex items-center whitespace-nowrap' }, back, warning, said);
}

function head(ohifReact) {
  react = ohifReact;
  return react.createElement(Head);
}

window.config = {
  name: 'Firstread',
  routerBasename: '/viewer',
  extensions: [
    {
      id: 'firstread',
      preRegistration: ({ servicesManager }) => listWords(servicesManager.services),
      getDataSourcesModule: () => [{ name: 'dicomweb', type: 'webApi', createDataSource: withReadingList }],
      getHangingProtocolModule: () => [{ name: sideBySide.id, protocol: sideBySide }],
    },
  ],
  modes: [],
  modesConfiguration: {
    '@ohif/mode-longitudinal': {
      hangingProtocol: { $set: [sideBySide.id, 'default'] },
      initToolGroups: {
        $apply: setUp => context => {
          setUp(context);
          drawWords(context);
        },
      },
    },
  },
  customizationService: [
    {
      'ohif.tours': { $set: [] },
      onBeforeSRHydration: { $set: { value: keepWords } },
      'workList.columns': { $apply: withColumns },
      'workList.onStudyDoubleClick': { $set: openStudy },
    },
  ],
  showStudyList: true,
  showPatientInfo: 'visible',
  whiteLabeling: { createLogoComponentFn: head },
  // It lies over the film; the head of the page, every AI series and every box say what it would say.
  investigationalUseDialog: { option: 'never' },
  showErrorDetails: 'always',
  showCPUFallbackMessage: true,
  showWarningMessageForCrossOrigin: false,
  maxNumberOfWebWorkers: 3,
  maxNumRequests: { interaction: 20, thumbnail: 5, prefetch: 10 },
  // Boxes of an AI findings report become measurements at once, without a question for each report.
  disableConfirmationPrompts: true,
  defaultDataSourceName: 'firstread',
  dataSources: [
    {
      namespace: 'firstread.dataSourcesModule.dicomweb',
      sourceName: 'firstread',
      configuration: {
        friendlyName: 'The PACS behind Firstread',
        name: 'firstread',
        qidoRoot: `${window.location.origin}/dicom-web`,
        wadoRoot: `${window.location.origin}/dicom-web`,
        qidoSupportsIncludeField: true, // or Orthanc leaves the descriptions out
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        supportsReject: false,
        dicomUploadEnabled: false,
        enableStudyLazyLoad: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors', // Orthanc draws no thumbnails
        singlepart: 'video', // Orthanc answers bulk data as multipart
        omitQuotationForMultipartRequest: false,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
