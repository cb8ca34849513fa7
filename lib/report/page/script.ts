/** The page's script: filters, zoom, links into what is folded. It makes no request, and no markup from text. */
export const SCRIPT = `
'use strict';
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const rows = all('.checks tbody tr');
  const filters = document.getElementById('filters');
  const search = document.getElementById('search');
  const buttons = all('[data-filter]', filters);
  filters.hidden = false;

  const apply = () => {
    const pressed = buttons.filter((one) => one.ariaPressed === 'true').map((one) => one.dataset.filter);
    const outcomes = pressed.filter((one) => one !== 'changed');
    const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const has = row.dataset.outcomes.split(' ');
      const text = words.length === 0 ? '' : row.textContent.toLowerCase();
      const fits =
        (outcomes.length === 0 || outcomes.some((one) => has.includes(one))) &&
        (!pressed.includes('changed') || 'changed' in row.dataset) &&
        words.every((word) => text.includes(word));
      row.hidden = !fits;
      if (fits) shown++;
    }
    document.getElementById('none').hidden = shown > 0;
    document.getElementById('shown').textContent = shown + ' of ' + rows.length + ' shown';
  };
  const press = (button) => {
    button.ariaPressed = String(button.ariaPressed !== 'true');
    return button.ariaPressed === 'true';
  };
  for (const button of buttons) button.addEventListener('click', () => (press(button), apply()));
  search.addEventListener('input', apply);
  const unfold = document.getElementById('unfold');
  unfold.addEventListener('click', () => {
    const open = press(unfold);
    for (const one of all('.checks .w > details')) one.open = open;
  });
  apply();

  const MOST = 512;
  const zoomable = (box) => {
    const line = box.querySelector('svg.tl');
    if (line === null || box.dataset.zoom) return;
    box.dataset.zoom = '1';
    const tools = document.createElement('div');
    tools.className = 'tools';
    const said = document.createElement('output');
    const zoom = (factor, at = box.clientWidth / 2) => {
      const before = Number(box.dataset.zoom);
      const after = factor === 0 ? 1 : Math.min(MOST, Math.max(1, before * factor));
      const middle = (box.scrollLeft + at) / before;
      box.dataset.zoom = String(after);
      line.style.width = after * 100 + '%';
      box.scrollLeft = middle * after - at;
      said.textContent = '×' + after;
    };
    for (const [sign, name, factor] of [['−', 'narrower', 0.5], ['+', 'wider', 2], ['1:1', 'whole', 0]]) {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = sign;
      button.title = name;
      button.setAttribute('aria-label', name);
      button.addEventListener('click', () => zoom(factor));
      tools.append(button);
    }
    said.textContent = '×1';
    tools.append(said, ' + − 0 on the keyboard; hold Ctrl and turn the wheel');
    box.before(tools);
    box.addEventListener('keydown', (event) => {
      const factor = { '+': 2, '=': 2, '-': 0.5, 0: 0 }[event.key];
      if (factor === undefined || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      zoom(factor);
    });
    box.addEventListener('wheel', (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 2 : 0.5, event.clientX - box.getBoundingClientRect().left);
    }, { passive: false });
  };
  for (const box of all('.run-line')) zoomable(box);
  const unfolded = (details) => {
    if (details.open) for (const box of all('.scroll', details)) zoomable(box);
  };
  for (const details of all('.checks .w > details')) {
    unfolded(details);
    details.addEventListener('toggle', () => unfolded(details));
  }

  const jump = () => {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = row?.querySelector('.w > details');
    if (!details) return;
    if (row.hidden) {
      for (const button of buttons) button.ariaPressed = 'false';
      search.value = '';
      apply();
    }
    details.open = true;
    row.scrollIntoView();
    details.querySelector('summary').focus({ preventScroll: true });
  };
  addEventListener('hashchange', jump);
  jump();
})();
`;
