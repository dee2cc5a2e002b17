// Passkeys are the one thing on these pages that needs script. A form that can
// use one names where its challenge comes from (data-passkey); it is then sent
// as any other, with the answer in two hidden fields. Without this file, or in a
// browser without passkeys, the pages stay as they were served.
'use strict';
const able = window.PublicKeyCredential?.parseCreationOptionsFromJSON && PublicKeyCredential.parseRequestOptionsFromJSON;
const answered = new WeakSet();

// ask gets options from the gateway and has the browser answer them; adding a
// passkey may take two rounds, one with a passkey that is there already.
async function ask(form, button) {
  for (let more = true; more;) {
    const reply = await fetch(form.dataset.passkey, { method: 'POST', body: new URLSearchParams(new FormData(form, button)) });
    const { problem, publicKey, create, challenge, more: again } = await reply.json();
    if (problem) return problem;
    const credential = create
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) });
    form.elements.challenge.value = challenge;
    form.elements.passkey.value = JSON.stringify(credential);
    more = again;
  }
  return '';
}

const words = {
  InvalidStateError: 'That device holds a passkey of this account already.',
  NotAllowedError: 'No passkey was used: it was cancelled, or took too long. Please try again.',
};

async function submitted(event) {
  const form = event.target;
  const button = event.submitter;
  // A code that was typed does instead, except where a new passkey is made.
  if (answered.has(form) || (!('create' in form.dataset) && form.elements.second?.value)) return;
  event.preventDefault();
  if (form.ariaBusy) return;
  const alert = form.querySelector('[role=alert]');
  alert.hidden = true;
  form.elements.challenge.value = form.elements.passkey.value = '';
  form.ariaBusy = 'true'; // a disabled button would not be sent
  const problem = await ask(form, button)
    .catch((err) => words[err.name] ?? 'Your browser or this gateway could not do that now. Please try again.');
  form.ariaBusy = null;
  if (problem) {
    alert.textContent = problem;
    alert.hidden = false;
    return;
  }
  answered.add(form);
  form.requestSubmit(button);
}

if (able) {
  for (const part of document.querySelectorAll('[data-with-passkey]')) part.hidden = false;
  for (const part of document.querySelectorAll('[data-without-passkey]')) part.hidden = true;
  for (const form of document.querySelectorAll('form[data-passkey]')) form.addEventListener('submit', submitted);
  // A page that comes back from the history holds an answer that was used.
  addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
}
