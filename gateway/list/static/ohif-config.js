// OHIF's configuration under this gateway: one data source, nothing from elsewhere, no questions in the way.
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

// ---- The way back, and what OHIF's banner is for ----

function head({ createElement }) {
  const back = createElement('a', { href: '/', className: 'text-primary px-2 text-base' }, '\u2190 Reading list');
  const warning = createElement('span', { className: 'text-muted-foreground text-xs' }, 'AI: not a diagnosis');
  return createElement('div', { className: 'flex items-center whitespace-nowrap' }, back, warning);
}

window.config = {
  name: 'Firstread',
  routerBasename: '/viewer',
  extensions: [
    {
      id: 'firstread',
      preRegistration: ({ servicesManager }) => listWords(servicesManager.services),
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
  customizationService: [{ 'ohif.tours': { $set: [] }, onBeforeSRHydration: { $set: { value: keepWords } } }],
  // OHIF's own list would be a second one, in another order.
  showStudyList: false,
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
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
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
